"""The events of a task as lines, by attempt; notes of progress are folded."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.sites import site
from django.utils.html import strip_tags

from django_simpletask3.admin.task_page.events import reading
from django_simpletask3.admin.task_page.events.reading import EventSelection
from django_simpletask3.admin.task_page.facts import TaskFacts
from django_simpletask3.admin.task_page.timeline import Timeline
from django_simpletask3.context import task_context
from django_simpletask3.states import EventKind
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import text, url


def listed(client: Any, task: Any, query: str = "") -> list[int]:
    page = client.get(url(task) + query).context["task_page"]
    return [event.sequence for event in page.timeline.events.listed]


def said(client: Any, task: Any) -> list[tuple[str, str]]:
    """Of each event, what happened, and why and who."""
    page = client.get(url(task)).content.decode()
    found = re.findall(r'"st3-what">([^<]*)</span><p class="st3-say">(.*?)</p>', page)
    return [(what, text_of(why)) for what, why in found]


def text_of(html: str) -> str:
    return re.sub(r"(<[^>]+>)+", " ", html).strip()


def make_progress(task: Any, *shares: float) -> None:
    for share in shares:
        apply(
            task,
            EventKind.NOTE,
            worker="w1",
            reason=f"page {share}",
            data={"progress": share},
        )


def test_consecutive_notes_of_progress_are_one_line(superuser, running_task) -> None:
    make_progress(running_task, 0.1, 0.2)
    apply(running_task, EventKind.NOTE, worker="w1", reason="3 rows without a price")
    make_progress(running_task, 0.3)

    page = superuser.get(url(running_task)).content.decode()

    assert page.count('<li class="st3-event') == 4  # enqueued, started, folded notes, note
    folded = page.partition('class="st3-notes"')[2].partition("</details>")[0]
    assert "3 progress notes" in folded
    assert "last “page 0.3”" in folded
    assert "<strong>30 %</strong>" in folded
    assert 'points="0.0,13.6 59.5,12.2 119.0,10.8"' in folded
    assert folded.count("<li>") == 3
    assert folded.index("page 0.3”</span>") < folded.index("page 0.1”</span>")
    assert page.count("3 rows without a price") == 1


def test_one_note_of_progress_and_notes_without_are_not_folded(superuser, running_task) -> None:
    make_progress(running_task, 0.5)
    running_task.note("first")
    running_task.note("second")

    assert "st3-notes" not in superuser.get(url(running_task)).content.decode()


@pytest.mark.parametrize(
    ("progress", "shown"),
    [(0.3, "30 %"), ({"done": 3, "total": 10}, "30 %"), ({"done": 3}, "3 done")],
)
def test_one_note_of_progress_says_how_far_it_is(superuser, running_task, progress, shown) -> None:
    apply(running_task, EventKind.NOTE, worker="w1", data={"progress": progress})

    assert ("note", f"{shown} by the task") in said(superuser, running_task)
    assert f"and is at {shown}." in text(superuser.get(url(running_task)))


def test_of_many_notes_the_newest_twenty_are_shown(superuser, running_task) -> None:
    make_progress(running_task, *(number / 100 for number in range(100)))

    page = superuser.get(url(running_task)).content.decode()

    folded = page.partition('class="st3-notes"')[2].partition("</details>")[0]
    assert folded.count("<li>") == 20
    assert len(re.findall(r"\d,\d", folded)) <= 42
    assert page.count("st3-tick") <= 60


def test_each_event_says_what_why_and_who_once(superuser, pending_task) -> None:
    apply(pending_task, EventKind.START, worker="app-2:4417:x", data={"claim": "155574df-7fde"})
    with task_context(actor="recovery app-1:3980:x"):
        data = {"lost_worker": "app-2:4417:x", "losses": 1}
        apply(pending_task, EventKind.RECOVER, reason="lease_expired", data=data)
    apply(pending_task, EventKind.START, worker="app-1:3980:x")
    error = {"type": "builtins.TimeoutError", "message": "no answer", "traceback": ""}
    fail = {"worker": "app-1:3980:x", "reason": "no_retry_left", "error_data": error}
    apply(pending_task, EventKind.FAIL, **fail)
    with task_context(actor="jonas"):
        pending_task.note("asked ACME")

    assert said(superuser, pending_task) == [
        ("enqueued", ""),
        ("started", "on app-2 › 4417"),
        (
            "recovered",
            "app-2 › 4417: its lease ended without being renewed by recovery on app-1",
        ),
        ("started", "on app-1 › 3980"),
        ("failed", "TimeoutError: no answer; no retry is left"),
        ("note", "“asked ACME” by jonas"),
    ]


def test_data_are_a_line_that_opens(superuser, running_task) -> None:
    running_task.note("one", id="155574df-7fde-49a3", rows=[1, 2], count=3, more=4)
    own = {"claim": "155574df", "traceback": "...", "payload_salt": "a"}
    apply(running_task, EventKind.NOTE, data={**own, "only": 30.0})
    apply(running_task, EventKind.NOTE, data=own)
    running_task.note("four", long="x" * 500)

    page = superuser.get(url(running_task)).content.decode()

    first, second, third, fourth = re.findall(
        r'"st3-data"><summary>(.*?)</summary><pre>(.*?)</pre>', page, re.S
    )
    assert first[0] == "id 155574df-7fde-49a3, rows, count 3, …"
    assert "  &quot;rows&quot;: [\n    1,\n    2\n  ]" in first[1]
    assert second[0] == "only 30"
    assert third[0] == "data"
    assert re.fullmatch("long x{115}", fourth[0])


def test_what_an_event_says_is_joined(superuser, running_task) -> None:
    error = {"type": "TimeoutError", "message": "no answer within 10 s", "traceback": ""}
    later = {"run_after": running_task.add_time + timedelta(days=1)}
    data = {"retry_in": 30.0}
    apply(running_task, EventKind.RETRY, worker="w1", error_data=error, data=data, values=later)

    said_of_retry = said(superuser, running_task)[-1][1]
    assert said_of_retry == "TimeoutError: no answer within 10 s; again in 30 s"


def test_an_attempt_has_a_heading_with_its_worker_and_its_end(superuser, running_task) -> None:
    apply(running_task, EventKind.RECOVER, reason="worker_died")
    apply(running_task, EventKind.START, worker="node-2:5:x")

    page = superuser.get(url(running_task)).content.decode()

    headings = [text_of(part) for part in re.findall(r'<h3 class="st3-attempt">.*?</h3>', page)]
    assert len(headings) == 2
    assert headings[0].startswith("Attempt 1 w1 worker lost after")
    assert headings[1].startswith("Attempt 2 node-2 › 5 running since")


KINDS = {
    "all": [1, 2, 3, 4, 5, 6],
    "states": [1, 2, 4, 6],
    "notes": [3, 5],
    "recoveries": [4],
    "people": [5, 6],
}


@pytest.mark.parametrize("page_size", [200, 3], ids=["short", "long"])
@pytest.mark.parametrize(("kinds", "numbers"), KINDS.items())
def test_events_are_listed_by_kind(  # noqa: PLR0917 - fixtures
    superuser, running_task, monkeypatch, page_size, kinds, numbers
) -> None:
    apply(running_task, EventKind.NOTE, worker="w1", reason="one")
    with task_context(actor="recovery app-1:3980:x"):
        apply(running_task, EventKind.RECOVER, reason="lease_expired")
    with task_context(actor="maria"):
        running_task.note("two")
        running_task.cancel()
    monkeypatch.setattr(reading, "PAGE_SIZE", page_size)

    assert listed(superuser, running_task, f"?events={kinds}") == numbers[-page_size:]
    older = f"?events={kinds}&events_before={numbers[-1]}"
    assert listed(superuser, running_task, older) == numbers[-page_size - 1 : -1][-page_size:]


def test_links_name_the_kinds_that_there_are_with_their_numbers(superuser, running_task) -> None:
    page = superuser.get(url(running_task))

    words = text(page)
    assert "All 2" in words
    assert "States 2" in words
    assert "Recoveries" not in words
    assert "There are no such events." in text(superuser.get(url(running_task) + "?events=notes"))


def test_the_head_and_the_lanes_stay_those_of_now_on_an_older_page(
    superuser, running_task, monkeypatch
) -> None:
    for number in range(6):
        running_task.note(f"note {number}")
    monkeypatch.setattr(reading, "PAGE_SIZE", 3)

    response = superuser.get(url(running_task) + "?events_before=4")

    page = response.context["task_page"]
    assert [event.sequence for event in page.timeline.events.listed] == [1, 2, 3]
    assert [event.sequence for event in page.facts.events.events] == [6, 7, 8]
    (lane,) = page.timeline.picture.lanes
    assert lane.attempt.run.begin == running_task.start_time


def test_a_time_has_a_date_where_the_day_changes(pending_task, time_machine) -> None:
    begin = pending_task.add_time
    for days in (400, 401):
        time_machine.move_to(begin + timedelta(days=days))
        pending_task.note("later")

    (section,) = Timeline(TaskFacts(site, pending_task, EventSelection())).sections

    times = [strip_tags(line.time) for line in section.lines]
    years = [re.findall(r" \d{4} ", time) for time in times]
    assert years[0] == [f" {begin.year} "]
    assert years[1] == [f" {(begin + timedelta(days=400)).year} "]
    assert re.fullmatch(r"\d+ \w+ \d\d:\d\d:\d\d\.\d{3}", times[2])


def test_deep_data_do_not_grow_when_they_are_indented(superuser, running_task) -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    apply(running_task, EventKind.NOTE, data={"deep": deep})

    assert len(superuser.get(url(running_task)).content) < 80_000
