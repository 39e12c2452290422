"""Values of any kind as HTML: readable, escaped, and short enough for a page."""

from __future__ import annotations

import json
import re
from typing import Any

from django.utils.formats import number_format
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ...ledger.encoding import to_json_value
from .tracebacks import Frame, FrameGroup, frame_groups

#: How many characters of one value a page shows.
PAGE_LIMIT = 50_000
#: How many characters of a value one cell of a table shows; the rest is folded.
CELL_LIMIT = 80
#: How many parts a tree may have; larger values are shown as JSON only.
TREE_LIMIT = 300
_MAX_DEPTH, _OPEN_DEPTH = 8, 2
_HEADLINE_LIMIT = 2000
#: Frames of a library that are shown, the last ones.
_MAX_FOLDED = 50
_ERROR_KEYS = ("type", "message", "traceback")

# Lone surrogates, which no page can hold, invisible characters, and changes of direction.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

_BREAKS = re.compile(r"([.:])(?=\w)")


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
    return format_html('{}<p class="st3-quiet">{}</p>', html, note)


def result(value: object) -> SafeString:
    """The result of a task function: a tree to unfold if it has parts, and its JSON."""
    if isinstance(value, str) and "\n" in value:
        return block(value)
    text = block(format_json(value, indent=2))
    if not isinstance(value, dict | list) or not value or _count_parts(value) > TREE_LIMIT:
        return text
    raw = format_html('<details class="st3-raw"><summary>JSON</summary>{}</details>', text)
    return format_html('<div class="st3-tree">{}</div>{}', _render_parts(value, depth=1), raw)


def error(value: object) -> SafeString:
    """The error of a task function: type, message and frames; other values as results.

    Frames of the project are shown with their line of code; those of libraries are folded.
    """
    if not isinstance(value, dict) or "type" not in value:
        return result(value)
    name = escape_invisible(str(value["type"])[:_HEADLINE_LIMIT])
    message = escape_invisible(str(value.get("message", ""))[:_HEADLINE_LIMIT])
    headline = format_html(
        '<p class="st3-error-message"><strong title="{}">{}</strong>{}{}</p>',
        name,
        name.rpartition(".")[2],
        ": " if message else "",
        message,
    )
    traceback = str(value.get("traceback") or "")
    remaining = {name: part for name, part in value.items() if name not in _ERROR_KEYS}
    return format_html(
        '<div class="st3-error">{}{}{}</div>{}',
        headline,
        _render_frames(traceback[-PAGE_LIMIT:]),
        _fold(_("Whole traceback"), block(traceback)) if traceback else "",
        block(format_json(remaining, indent=2)) if remaining else "",
    )


def _render_frames(traceback: str) -> SafeString:
    groups = frame_groups(traceback)
    if not groups:
        return SafeString()
    items = format_html_join("", "<li>{}</li>", ((_render_group(group),) for group in groups))
    return format_html('<ol class="st3-frames">{}</ol>', items)


def _render_group(group: FrameGroup) -> SafeString:
    if not group.library:
        (frame,) = group.frames
        code = escape_invisible("\n".join(frame.code))
        return format_html(
            "<code>{}</code>{}", _place(frame), format_html("<pre>{}</pre>", code) if code else ""
        )
    count = len(group.frames)
    summary = ngettext("%(count)d frame of %(library)s", "%(count)d frames of %(library)s", count)
    lines = (line for f in group.frames[-_MAX_FOLDED:] for line in (_place(f), *f.code[:1]))
    library = escape_invisible(group.library)
    return format_html(
        '<details><summary>{}</summary><pre class="st3-block">{}</pre></details>',
        summary % {"count": count, "library": library},
        escape_invisible("\n".join(lines)),
    )


def _place(frame: Frame) -> str:
    values = {"path": frame.path, "line": frame.line, "name": frame.name}
    text = _("%(path)s, line %(line)d, in %(name)s") if frame.name else _("%(path)s, line %(line)d")
    return escape_invisible(text % values)


def _fold(title: str, html: SafeString) -> SafeString:
    return format_html(
        '<details class="st3-traceback"><summary>{}</summary>{}</details>', title, html
    )


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


def _render_parts(value: Any, depth: int) -> SafeString:
    """The parts of a dict or a list that has some."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    parts = ((_render_part(escape_invisible(str(k)), part, depth),) for k, part in pairs)
    return format_html("<ul>{}</ul>", format_html_join("", "<li>{}</li>", parts))


def _render_part(name: str, value: object, depth: int) -> SafeString:
    if isinstance(value, dict | list) and value:
        count = ngettext("%(count)d entry", "%(count)d entries", len(value))
        return format_html(
            '<details{}><summary><span class="st3-name">{}</span> {}</summary>{}</details>',
            SafeString(" open") if depth < _OPEN_DEPTH else "",
            name,
            count % {"count": len(value)},
            _render_parts(value, depth + 1),
        )
    return format_html(
        '<span class="st3-name">{}</span> <span class="st3-{}">{}</span>',
        name,
        "text" if isinstance(value, str) else "value",
        format_json(value)[:_HEADLINE_LIMIT],
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


def format_count(count: int) -> str:
    """``count`` with separators of thousands where the language has them."""
    return number_format(count, force_grouping=True)


def with_breaks(text: str) -> SafeString:
    """``text`` that may be broken after a dot or a colon, rather than within a word."""
    return mark_safe(_BREAKS.sub(r"\1<wbr>", conditional_escape(text)))  # noqa: S308 - escaped
