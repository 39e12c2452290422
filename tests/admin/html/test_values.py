"""Whatever a body returned or raised, the page holds it, escaped and readable."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_simpletask3.admin.html import values
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import url
from tests.steps import bring_to
from tests.testapp.models import Invoice

CYCLE: list[Any] = [1]
CYCLE.append(CYCLE)

#: A result, and how the page shows it.
RESULTS = {
    "text": ("OK", "&quot;OK&quot;"),
    "lines": ("first\nsecond", "first\nsecond"),
    "Chinese": ({"to": "客户"}, "&quot;to&quot;: &quot;客户&quot;"),
    "surrogate": ("\ud800x", "\\ud800x"),
    "surrogate in lines": ("\udfff\n", "\\udfff"),
    "NUL": ("a\x00b", "a\\u0000b"),
    "NUL in lines": ("a\x00\n", "a\\x00"),
    "turned around": ("\u202egnp.exe", "\\u202egnp.exe"),
    "script": ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
    "NaN": (float("nan"), "NaN"),
    "infinite": (float("-inf"), "-Infinity"),
    "decimal": (Decimal("1.50"), "&quot;1.50&quot;"),
    "moment": (datetime(2024, 2, 29, tzinfo=UTC), "2024-02-29 00:00:00+00:00"),
    "bytes": (b"\xff", "b&#x27;\\\\xff&#x27;"),
    "set": ({3, 1}, "1,\n  3"),
    "key of another kind": ({(1, 2): 3}, "__simpletask3__"),
    "huge integer": (10**5000, "repr"),
    "cycle": (CYCLE, "repr"),
    "object": (object(), "object object at"),
    "empty": ({}, "{}"),
    "false": (False, "false"),
}


@pytest.mark.parametrize(("value", "words"), RESULTS.values(), ids=RESULTS)
def test_a_result_is_shown(superuser, pending_task, value, words) -> None:
    bring_to(pending_task, Status.SUCCESS, result=value)

    response = superuser.get(url(pending_task))

    assert words in response.content.decode()
    assert "<script>alert" not in response.content.decode()


@pytest.mark.parametrize(("value", "words"), RESULTS.values(), ids=RESULTS)
def test_the_list_and_the_timeline_hold_it_too(superuser, pending_task, value, words) -> None:
    apply(pending_task, EventKind.NOTE, data={"value": value})

    response = superuser.get(url(pending_task))

    assert "<script>alert" not in response.content.decode()
    assert superuser.get(url(Invoice)).status_code == 200


def test_a_megabyte_is_cut_and_says_so(superuser, pending_task) -> None:
    bring_to(pending_task, Status.SUCCESS, result="<" * 1_000_000)

    page = superuser.get(url(pending_task)).content.decode()

    assert len(page) < 300_000
    assert "The first 50000 of 1000002 characters." in page


def test_a_result_over_the_limit_is_marked(superuser, pending_task) -> None:
    bring_to(pending_task, Status.SUCCESS, result="x" * 2_000_000)

    assert "truncated" in superuser.get(url(pending_task)).content.decode()


ERRORS = {
    "usual": ({"type": "ValueError", "message": "<b>", "traceback": "File <x>\n  line\n"}, 2),
    "without traceback": ({"type": "WorkerLost", "message": "lost", "traceback": ""}, 1),
    "hostile": ({"type": "E\ud800", "message": "\x00\udfff<i>", "traceback": "\ud800<u>"}, 2),
    "large": ({"type": "E", "message": "m" * 400_000, "traceback": "t" * 400_000}, 2),
    "of another shape": ({"code": 226, "message": "<b>"}, 0),
    "further words": ({"type": "E", "message": "", "traceback": "", "hint": "<b>"}, 1),
    "not even a dict": ("<b>", 0),
}


@pytest.mark.parametrize(("error", "parts"), ERRORS.values(), ids=ERRORS)
def test_an_error_is_shown(superuser, pending_task, error, parts) -> None:
    bring_to(
        pending_task, Status.FAILED, error_data=error if isinstance(error, dict) else {"e": error}
    )

    response = superuser.get(url(pending_task))

    page = response.content.decode()
    assert page.count('class="st3-error"') == min(parts, 1)
    assert page.count("Whole traceback") == (parts == 2)
    assert not any(tag in page for tag in ("<b>", "<i>", "<u>", "<x>"))
    assert len(page) < 300_000


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(st.characters()) | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    )
)
def test_any_value_is_text_that_can_be_sent(value) -> None:
    shown = values.result(value) + values.error(value) + values.cell(values.format_json(value))

    shown.encode()
    assert "\x00" not in shown


def test_a_result_with_parts_is_a_tree_and_its_json() -> None:
    shown = values.result({"sum": 3, "parts": [1, {"deep": "<b>"}]})

    name = '<span class="st3-name">{}</span> '.format
    assert f"<details open><summary>{name('parts')}2 entries</summary>" in shown
    assert f'{name("deep")}<span class="st3-text">&quot;&lt;b&gt;&quot;</span>' in shown
    assert f'{name("sum")}<span class="st3-value">3</span>' in shown
    assert "<summary>JSON</summary>" in shown


@pytest.mark.parametrize(
    "value",
    [list(range(1000)), [[[[[[[[[[[[1]]]]]]]]]]]], {}, [], "text", 3],
    ids=["many parts", "too deep", "no part", "no item", "text", "number"],
)
def test_a_value_that_makes_no_tree_is_shown_as_json_only(value: Any) -> None:
    assert "st3-tree" not in values.result(value)


def test_a_traceback_is_folded() -> None:
    shown = values.error({"type": "E", "message": "m", "traceback": "File <x>"})

    assert '<details class="st3-traceback"><summary>Whole traceback</summary>' in shown
