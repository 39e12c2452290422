"""The table of a list of tasks: Django's cells with roles, widths and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Any

from django.contrib.admin.templatetags.admin_list import items_for_result, result_list
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _

from ..html.pills import STATE_WORDS, state_of


@dataclass(frozen=True, slots=True)
class Column:
    """How a column looks: the class of its ``<col>``, those of its cells, and their label.

    Where there is little room, a cell with a label has it before its value. A cell of a column
    that ``changes`` is replaced while the page is open.
    """

    width: str = "st3-c-own"
    classes: str = ""
    label: Any = ""
    changes: bool = True


COLUMNS = {
    "action_checkbox": Column("st3-c-box", "st3-box", changes=False),
    "task_label": Column("st3-c-name", changes=False),
    "status_label": Column("st3-c-pill"),
    "activity_label": Column("", "st3-full"),
    "attempt_label": Column("st3-c-try", "st3-num", _("attempt")),
    "waited_label": Column("st3-c-wait", "st3-num", _("waited")),
    "ran_label": Column("st3-c-took", "st3-num", _("ran")),
    "worker_label": Column("st3-c-worker", "st3-hide"),
    "enqueued_label": Column("st3-c-time", "st3-num st3-hide", changes=False),
}


def state_word(task: Any, now: datetime) -> str:
    """The state of ``task`` at ``now`` as a word; of a newer version, the number of its status."""
    state = state_of(task.status, task.run_after, now)
    return str(STATE_WORDS[state]) if state else str(task.status)


def render_rows(changelist: Any) -> SafeString:
    """The table of the tasks of ``changelist``."""
    states = [state_word(task, changelist.now) for task in changelist.result_list]
    return render_table(changelist, COLUMNS, states)


def render_table(
    changelist: Any, look: Mapping[str, Column], states: Sequence[str] = ()
) -> SafeString:
    """The table of ``changelist``, whose columns look as ``look`` says.

    ``states`` has a word for each row, which scripts read.
    """
    table: Any = result_list(changelist)
    names = [*map(_name_of, changelist.list_display)]
    columns = [look.get(name) for name in names]
    headers = table["result_headers"]
    labels = [str(header["text"]) for header in headers]
    for header, column in zip(headers, columns, strict=True):
        header["word"] = _("Select all") if column is COLUMNS["action_checkbox"] else ""
        header["classes"] = f"{column.classes if column else ''} {_classes_in(header)}".strip()
    rows = [
        {
            "key": str(row.serializable_value(changelist.pk_attname)),
            "state": state,
            "form": cells.form,
            "cells": [
                _cell(html, columns[i] if i < len(columns) else None, labels[i : i + 1])
                for i, html in enumerate(cells)
            ],
        }
        for row, cells, state in zip_longest(changelist.result_list, table["results"], states)
    ]
    widths = [(column or Column()).width for column in columns]
    context = {**table, "rows": rows, "widths": widths}
    return render_to_string("admin/django_simpletask3/task_rows.html", context)


def changing_cells(changelist: Any, task: Any) -> dict[str, str]:
    """The contents of the cells of ``task`` that change while the page is open, by column."""
    names = [*map(_name_of, changelist.list_display)]
    cells = items_for_result(changelist, task, None)
    return {
        name: html.partition(">")[2].rpartition("</")[0]
        for name, html in zip(names, cells, strict=False)
        if (column := COLUMNS.get(name)) and column.changes
    }


def _cell(html: str, column: Column | None, label: list[str]) -> SafeString:
    """A ``<td>`` or ``<th>`` of Django with a role, and with the classes of its column."""
    role = "rowheader" if html.startswith("<th") else "cell"
    attributes = format_html(' role="{}"', role)
    text = column.label if column else "".join(label)
    if text and role == "cell":
        attributes += format_html(' data-label="{}"', text)
    if column and column.classes:
        html = html.replace('class="', f'class="{column.classes} ', 1)
    return mark_safe(f"{html[:3]}{attributes}{html[3:]}")  # noqa: S308 - Django's own cell


def _classes_in(header: Any) -> str:
    """The classes of a header, of which Django says ``class_attrib``."""
    return str(header.get("class_attrib", "")).partition('"')[2].rpartition('"')[0]


def _name_of(column: Any) -> str:
    return getattr(column, "__name__", "") if callable(column) else str(column)
