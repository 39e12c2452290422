"""Values of any kind as HTML: readable, escaped, and short enough for a page."""

from __future__ import annotations

import json
import re
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ...ledger.encoding import to_json_value

#: How many characters of one value a page shows.
PAGE_LIMIT = 50_000
#: How many characters of a value stand in one cell of a table; the rest is folded away.
CELL_LIMIT = 80
#: How many parts a tree may have; what has more is shown as JSON only.
TREE_LIMIT = 300
_DEEPEST, _OPEN = 8, 2
_HEADLINE_LIMIT = 2000
_TOLD = ("type", "message", "traceback")

# What no page can hold (lone surrogates), what nobody sees, and what turns the text around.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    """``text`` with an escape sequence for each character that a page cannot hold or show."""
    return _INVISIBLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_in(value: Any) -> Any:
    """``value``, made of dicts and lists, with each text in it as ``visible()`` has it."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible_in(key): visible_in(part) for key, part in value.items()}
    return [visible_in(part) for part in value] if isinstance(value, list) else value


def in_json(value: Any, *, indent: int | None = None) -> str:
    """``value`` as JSON for people: other kinds in their usual words; never raises."""
    try:
        text = json.dumps(value, ensure_ascii=False, indent=indent, default=_usual)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(to_json_value(value), ensure_ascii=False, indent=indent)
    return visible(text)


def block(text: str) -> SafeString:
    """``text`` as a block of its own, cut to what a page can take."""
    shown = format_html('<pre class="st3-block">{}</pre>', visible(text[:PAGE_LIMIT]))
    if len(text) <= PAGE_LIMIT:
        return shown
    note = _("The first {shown} of {total} characters.")
    note = note.format(shown=PAGE_LIMIT, total=len(text))
    return format_html('{}<p class="st3-note">{}</p>', shown, note)


def result(value: Any) -> SafeString:
    """What a body returned: a tree to be unfolded if it has parts, and its JSON."""
    if isinstance(value, str) and "\n" in value:
        return block(value)
    text = block(in_json(value, indent=2))
    if not isinstance(value, dict | list) or not value or _size(value) > TREE_LIMIT:
        return text
    raw = format_html('<details class="st3-raw"><summary>JSON</summary>{}</details>', text)
    return format_html('<div class="st3-tree">{}</div>{}', _tree(value, depth=0), raw)


def error(value: Any) -> SafeString:
    """What a body raised: type and message, the traceback folded away; anything else as it is."""
    if not isinstance(value, dict) or "type" not in value:
        return result(value)
    headline = f"{value['type']}: {value.get('message', '')}"
    shown = format_html('<div class="st3-error">{}</div>', visible(headline[:_HEADLINE_LIMIT]))
    if value.get("traceback"):
        text = block(str(value["traceback"]))
        folded = '{}<details class="st3-traceback"><summary>{}</summary>{}</details>'
        shown = format_html(folded, shown, _("Traceback"), text)
    rest = {name: what for name, what in value.items() if name not in _TOLD}
    return format_html("{}{}", shown, block(in_json(rest, indent=2))) if rest else shown


def _size(value: Any, depth: int = 0) -> int:
    """How many parts ``value`` has; more than TREE_LIMIT if they lie too deep."""
    if not isinstance(value, dict | list):
        return 1
    if depth > _DEEPEST:
        return TREE_LIMIT + 1
    total = 1
    for part in value.values() if isinstance(value, dict) else value:
        total += _size(part, depth + 1)
        if total > TREE_LIMIT:
            break
    return total


def _tree(value: Any, depth: int) -> SafeString:
    if not isinstance(value, dict | list) or not value:
        text = in_json(value)
        return format_html("<code>{}</code>", text[:_HEADLINE_LIMIT])
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    parts = ((visible(str(key)), _tree(part, depth + 1)) for key, part in pairs)
    told = "{{{}}}" if isinstance(value, dict) else "[{}]"
    return format_html(
        "<details{}><summary>{}</summary><ul>{}</ul></details>",
        SafeString(" open") if depth < _OPEN else "",
        told.format(len(value)),
        format_html_join("", '<li><span class="st3-name">{}</span> {}</li>', parts),
    )


def cell(text: str) -> SafeString:
    """``text`` in a cell of a table; a long one is folded."""
    seen = visible(text)
    if len(seen) <= CELL_LIMIT:
        return format_html('<code class="st3-data">{}</code>', seen)
    return format_html(
        '<details class="st3-data"><summary><code>{}…</code></summary><pre>{}</pre></details>',
        seen[:CELL_LIMIT],
        seen,
    )


def _usual(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return to_json_value(value)["value"]
    if isinstance(value, bytes | complex):
        return repr(value)
    return str(value)
