"""States in words: a shape, a word and a colour for each."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.template.loader import render_to_string
from django.utils import translation

from django_simpletask3.admin.html.icons import ICON_BY_KIND, kind_icon
from django_simpletask3.admin.html.pills import (
    STATE_WORDS,
    State,
    pill,
    state_label,
    state_of,
    state_of_task,
    status_pill,
)
from django_simpletask3.db import clock
from django_simpletask3.states import EventKind, Status
from tests.project.sources import PACKAGE, ROOT

STYLES = (ROOT / PACKAGE / "static" / PACKAGE / "admin.css").read_text(encoding="utf-8")
NOW = datetime(2026, 11, 28, 14, tzinfo=UTC)


def symbols() -> list[str]:
    icons = render_to_string("admin/django_simpletask3/icons.html")
    return re.findall(r'<symbol id="st3-icon-(\w+)"', icons)


def test_every_status_has_a_state() -> None:
    assert {status: state_of(status) for status in Status} == {
        Status.PENDING: State.WAITING,
        Status.BLOCKED: State.BLOCKED,
        Status.RUNNING: State.RUNNING,
        Status.SUCCESS: State.SUCCEEDED,
        Status.FAILED: State.FAILED,
        Status.CANCELED: State.CANCELED,
    }


@pytest.mark.parametrize(
    ("status", "seconds", "state"),
    [
        pytest.param(Status.PENDING, 1, State.SCHEDULED, id="to come"),
        pytest.param(Status.PENDING, 0, State.WAITING, id="due"),
        pytest.param(Status.FAILED, 1, State.FAILED, id="final"),
    ],
)
def test_a_waiting_task_is_scheduled_until_it_may_run(status, seconds, state) -> None:
    assert state_of(status, NOW + timedelta(seconds=seconds), NOW) is state


def test_the_state_of_a_task_is_that_of_now(pending_task) -> None:
    pending_task.run_after = clock.now("default") + timedelta(hours=1)

    assert state_of_task(pending_task) is State.SCHEDULED


@pytest.mark.parametrize("state", State)
def test_a_state_has_a_symbol_a_word_and_a_colour(state: State) -> None:
    with translation.override("en"):
        shown = pill(state, is_large=True)
        label = state_label(state)

    assert state in symbols()
    assert shown == (
        f'<span class="st3-pill st3-{state} st3-pill-large"><svg class="st3-icon" '
        f'aria-hidden="true"><use href="#st3-icon-{state}"/></svg>{state}</span>'
    )
    assert f" {state}</span>" in label
    assert f".st3-{state} {{ --st3-state: var(--st3-{state}); }}" in STYLES
    assert STYLES.count(f"  --st3-{state}: #") == 3


def test_words_of_states_are_translated() -> None:
    with translation.override("zh-hans"):
        assert {str(word) for word in STATE_WORDS.values()}.isdisjoint(State)


def test_an_unknown_status_is_shown_as_it_is() -> None:
    assert status_pill("<99>").endswith("</svg>&lt;99&gt;</span>")


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_of_event_has_an_icon(kind: EventKind) -> None:
    assert ICON_BY_KIND[kind] in symbols()


def test_an_unknown_kind_has_the_icon_of_a_note() -> None:
    assert kind_icon("paused") == kind_icon(EventKind.NOTE)


@pytest.mark.parametrize("name", ["dashboard", "recoveries"])
def test_a_page_has_the_symbols_once(superuser, name) -> None:
    pages = {"dashboard": "", "recoveries": "recoveries/"}

    page = superuser.get(f"/admin/django_simpletask3/dashboard/{pages[name]}").content.decode()

    assert page.count('<symbol id="st3-icon-waiting"') == 1
