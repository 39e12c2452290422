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
#: How many characters of a value one cell of a table shows; the rest is folded.
CELL_LIMIT = 80
#: How many parts a tree may have; larger values are shown as JSON only.
TREE_LIMIT = 300
_MAX_DEPTH, _OPEN_DEPTH = 8, 2
_HEADLINE_LIMIT = 2000
_ERROR_KEYS = ("type", "message", "traceback")

# Lone surrogates, which no page can hold, invisible characters, and changes of direction.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape_invisible(text: str) -> str:
    """``text`` with an escape sequence for each character that a page cannot hold or show."""
    return _INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def escape_invisible_in(value: Any) -> Any:
    """``value``, made of dicts and lists, with ``escape_invisible`` applied to each text."""
    if isinstance(value, str):
        return escape_invisible(value)
    if isinstance(value, dict):
        return {escape_invisible_in(key): escape_invisible_in(part) for key, part in value.items()}
    return [escape_invisible_in(part) for part in value] if isinstance(value, list) else value


def format_json(value: object, *, indent: int | None = None) -> str:
    """``value`` as JSON for people: other types as text; never raises."""
    try:
        text = json.dumps(value, ensure_ascii=False, indent=indent, default=_json_default)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(to_json_value(value), ensure_ascii=False, indent=indent)
    return escape_invisible(text)


def block(text: str) -> SafeString:
    """``text`` as a block, cut to PAGE_LIMIT characters."""
    html = format_html('<pre class="st3-block">{}</pre>', escape_invisible(text[:PAGE_LIMIT]))
    if len(text) <= PAGE_LIMIT:
        return html
    note = _("The first {shown} of {total} characters.")
    note = note.format(shown=PAGE_LIMIT, total=len(text))
    return format_html('{}<p class="st3-note">{}</p>', html, note)


def result(value: object) -> SafeString:
    """The result of a task function: a tree to unfold if it has parts, and its JSON."""
    if isinstance(value, str) and "\n" in value:
        return block(value)
    text = block(format_json(value, indent=2))
    if not isinstance(value, dict | list) or not value or _count_parts(value) > TREE_LIMIT:
        return text
    raw = format_html('<details class="st3-raw"><summary>JSON</summary>{}</details>', text)
    return format_html('<div class="st3-tree">{}</div>{}', _render_tree(value, depth=0), raw)


def error(value: object) -> SafeString:
    """The error of a task function: type, message and folded traceback; other values as results."""
    if not isinstance(value, dict) or "type" not in value:
        return result(value)
    headline = f"{value['type']}: {value.get('message', '')}"
    html = format_html(
        '<div class="st3-error">{}</div>', escape_invisible(headline[:_HEADLINE_LIMIT])
    )
    if value.get("traceback"):
        text = block(str(value["traceback"]))
        template = '{}<details class="st3-traceback"><summary>{}</summary>{}</details>'
        html = format_html(template, html, _("Traceback"), text)
    remaining = {name: part for name, part in value.items() if name not in _ERROR_KEYS}
    return format_html("{}{}", html, block(format_json(remaining, indent=2))) if remaining else html


def _count_parts(value: object, depth: int = 0) -> int:
    """The number of parts of ``value``; more than TREE_LIMIT if it is nested too deeply."""
    if not isinstance(value, dict | list):
        return 1
    if depth > _MAX_DEPTH:
        return TREE_LIMIT + 1
    total = 1
    for part in value.values() if isinstance(value, dict) else value:
        total += _count_parts(part, depth + 1)
        if total > TREE_LIMIT:
            break
    return total


def _render_tree(value: object, depth: int) -> SafeString:
    if not isinstance(value, dict | list) or not value:
        text = format_json(value)
        return format_html("<code>{}</code>", text[:_HEADLINE_LIMIT])
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    parts = ((escape_invisible(str(key)), _render_tree(part, depth + 1)) for key, part in pairs)
    summary = "{{{}}}" if isinstance(value, dict) else "[{}]"
    return format_html(
        "<details{}><summary>{}</summary><ul>{}</ul></details>",
        SafeString(" open") if depth < _OPEN_DEPTH else "",
        summary.format(len(value)),
        format_html_join("", '<li><span class="st3-name">{}</span> {}</li>', parts),
    )


def cell(text: str) -> SafeString:
    """``text`` in a cell of a table, folded if it is long."""
    escaped = escape_invisible(text)
    if len(escaped) <= CELL_LIMIT:
        return format_html('<code class="st3-data">{}</code>', escaped)
    return format_html(
        '<details class="st3-data"><summary><code>{}…</code></summary><pre>{}</pre></details>',
        escaped[:CELL_LIMIT],
        escaped,
    )


def _json_default(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return to_json_value(value)["value"]
    if isinstance(value, bytes | complex):
        return repr(value)
    return str(value)
