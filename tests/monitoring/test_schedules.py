"""The list of schedules, and the status, say what was fired and what is overdue."""

import json
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from django_simpletask3.db import clock
from django_simpletask3.monitoring import schedules as monitoring
from django_simpletask3.monitoring.schedules import overdue_schedules, report_schedules
from django_simpletask3.schedules.tables import Schedule
from django_simpletask3.testing import TaskClock
from tests.schedules.steps import BEGIN, HOUR, make_schedule, new_node
from tests.steps import run_command
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db(databases="__all__")

COMMAND = "django-simpletask3-schedules"


@pytest.fixture
def hand_clock(task_clock: Callable[..., TaskClock]) -> TaskClock:
    return task_clock(BEGIN)


def test_the_list_has_the_last_and_the_next_ticks(hand_clock: TaskClock) -> None:
    make_schedule(zone="Asia/Tokyo")
    hand_clock.shift(HOUR)
    new_node().run()

    output, _ = run_command(COMMAND, "--json", "--next", "2")

    (found,) = json.loads(output)
    assert (found["schedule"], found["target"], found["when"]) == (
        "own",
        "testapp.Invoice",
        "0 * * * *",
    )
    assert (found["overdue"], found["is_orphaned"], found["error"]) == (None, False, "")
    assert found["last"] == {
        "tick": "2026-11-30T22:00:00+09:00",
        "outcome": "fired",
        "model": "testapp.Invoice",
        "task": str(Invoice.objects.get().pk),
        "message": "",
    }
    assert found["next"] == ["2026-11-30T23:00:00+09:00", "2026-12-01T00:00:00+09:00"]


def test_the_text_names_the_state_of_each(hand_clock: TaskClock) -> None:
    make_schedule("late")
    make_schedule("gone", target="testapp.Gone")
    make_schedule("off", enabled=False, reason="holidays")
    make_schedule("of other code", is_own=False)
    make_schedule("wrong", cron="0 25 * * *")
    make_schedule("interval", cron="", interval=timedelta(days=2), active_since=BEGIN + HOUR)
    hand_clock.shift(HOUR + timedelta(seconds=20))

    output, _ = run_command(COMMAND, "--next", "3")

    lines = {line.split("  ")[0]: line for line in output.splitlines() if "  " in line.strip()}
    assert "overdue for 20 s" in lines["late"]
    assert "not in the code" in lines["gone"]
    assert "disabled: holidays" in lines["off"]
    assert "not in the code" in lines["of other code"]
    assert "is no cron expression" in lines["wrong"]
    assert "every 2 days, 0:00:00" in lines["interval"]
    assert output.count("T14:00:00+00:00") > 1


def test_what_is_not_fired_has_no_next_tick(hand_clock: TaskClock) -> None:
    make_schedule("gone", target="testapp.Gone")

    (report,) = report_schedules("default")

    assert (report.is_orphaned, report.next) == (True, [])


def test_a_database_that_is_away_makes_the_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def fail(using: str) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(clock, "calibrate", fail)
    for options in ([], ["--json"]):
        with pytest.raises(SystemExit) as exited:
            call_command(COMMAND, *options)
        assert exited.value.code == 1

    written = capsys.readouterr()
    assert "The database 'default' does not answer: gone" in written.err
    assert "No schedules" not in written.out


def test_schedules_that_are_not_listed_are_mentioned(
    hand_clock: TaskClock, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    command = import_module(f"django_simpletask3.management.commands.{COMMAND}")
    for module in (command, monitoring):
        monkeypatch.setattr(module, "MAX_ROWS", 2)
    make_schedule("a")
    make_schedule("b")
    call_command(COMMAND)
    assert capsys.readouterr().err == ""

    make_schedule("c")
    call_command(COMMAND)

    assert "Only 2 of 3 schedules in 'default' are listed." in capsys.readouterr().err


@pytest.mark.parametrize("number", ["\u00b2", "\u0663", "0", "1001", "9" * 5000])
def test_the_number_of_ticks_is_a_number(number: str) -> None:
    with pytest.raises(CommandError, match="is no number from 1 to 1000"):
        run_command(COMMAND, "--next", number)


def test_without_schedules_the_list_says_where_they_come_from() -> None:
    assert "A node writes those of its code" in run_command(COMMAND)[0]


def test_the_newest_tick_of_each_is_read_in_three_queries(
    hand_clock: TaskClock, django_assert_num_queries: Any
) -> None:
    for number in range(5):
        make_schedule(f"s{number}")
    for _ in range(3):
        hand_clock.shift(HOUR)
        new_node().run()

    with django_assert_num_queries(3):
        reports = report_schedules("default")

    assert {report.last.tick for report in reports if report.last} == {
        (BEGIN + 3 * HOUR).isoformat()
    }
    assert len(reports) == 5


def test_what_no_node_fires_for_ten_seconds_is_a_problem(
    hand_clock: TaskClock, redis_url: str
) -> None:
    make_schedule()
    make_schedule("off", enabled=False)
    hand_clock.shift(HOUR + timedelta(seconds=9))
    assert overdue_schedules("default") == []

    hand_clock.shift(timedelta(seconds=3))
    output, _ = run_command("django-simpletask3-status")
    problem = "The schedule own in 'default' is overdue for 12 s: no node fires it."
    assert f"Problem: {problem}" in output
    assert ["own", "default", "12.0", "s"] in [line.split() for line in output.splitlines()]
    health = json.loads(run_command("django-simpletask3-status", "--json")[0])
    assert [s["overdue"] for s in health["overdue_schedules"]] == [12.0]

    new_node().run()
    assert problem not in run_command("django-simpletask3-status")[0]
    assert Schedule.objects.count() == 2
