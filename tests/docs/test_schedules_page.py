"""The page about schedules: its models, its ticks."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test.utils import isolate_apps

from django_simpletask3.schedules.targets import ModelTarget
from django_simpletask3.schedules.ticks import ticks_between
from django_simpletask3.schedules.validation import faults_of
from django_simpletask3.testing import TaskClock
from tests.docs.test_how_to import defined_by, how_to
from tests.schedules.steps import BEGIN, HOUR, make_schedule, new_node
from tests.testapp.models import Invoice

PAGE = how_to("run-on-a-schedule")


def defined_model(name: str) -> Any:
    code = PAGE.block("python", f"class {name}(SimpleTask)")
    code += '\n    class Meta:\n        app_label = "testapp"\n'
    return defined_by(code, __name__=__name__)[name]


@isolate_apps("tests.testapp")
def test_the_report_is_due_on_working_days_in_berlin() -> None:
    model = defined_model("Report")

    (definition,) = model.django_simpletask3_schedules
    begin, end = datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC)
    ticks = list(ticks_between(definition.parse_ticks(), begin, end))

    assert [f"{tick:%a %H:%M}" for tick in ticks] == ["Fri 05:00", "Mon 04:00"]
    assert list(definition.faults()) == []
    assert faults_of(ModelTarget(model), definition.fields_at(ticks[0])) == []
    assert model(**definition.fields_at(ticks[0])).do_task() == "daily report"


@isolate_apps("tests.testapp")
def test_the_statement_is_of_the_month_before_and_drafts_come_often() -> None:
    model = defined_model("Statement")

    monthly, often = model.django_simpletask3_schedules
    tick = monthly.parse_ticks().next_after(datetime(2026, 12, 15, tzinfo=UTC))
    fields = monthly.fields_at(tick.astimezone(ZoneInfo(monthly.zone)))

    assert fields == {"month": date(2026, 12, 1)}
    assert model(**fields).do_task() == "statement of December 2026"
    assert (often.name, often.overlap, model(is_draft=True).do_task()) == ("often", "skip", "draft")
    assert [*monthly.faults(), *often.faults()] == []


@pytest.mark.django_db
def test_what_was_fired_is_printed(
    hand_clock: TaskClock, capsys: pytest.CaptureFixture[str]
) -> None:
    make_schedule("app.Report")
    hand_clock.shift(HOUR)
    new_node().run()

    defined_by(PAGE.block("python", "for tick in ScheduleTick"))

    task = Invoice.objects.get()
    assert capsys.readouterr().out.split("\n")[0] == f"{BEGIN + HOUR} fired {task.pk} "


@pytest.fixture
def hand_clock(task_clock: Callable[..., TaskClock]) -> TaskClock:
    return task_clock(BEGIN)
