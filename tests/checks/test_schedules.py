"""``check`` names a schedule that is wrong, and says what to do."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.core import checks
from django.core.exceptions import ObjectDoesNotExist

from django_simpletask3 import checks as own_checks
from django_simpletask3.models import SimpleTask
from django_simpletask3.schedules import decorator, schedule
from tests.checks.test_checks import messages_of_package
from tests.testapp.models import Errand, Invoice, PaidInvoice

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]

DAILY = "0 6 * * *"


@pytest.fixture(autouse=True)
def no_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invoice, decorator.ATTRIBUTE, (), raising=False)
    monkeypatch.setattr(PaidInvoice, decorator.ATTRIBUTE, (), raising=False)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"when": "0 25 * * *"}, "'0 25 * * *' is no cron expression: Bad hour."),
        ({"when": "daily"}, "'daily' has 1 fields; expected five"),
        ({"when": 60}, "The first argument is 60."),
        ({"when": timedelta(milliseconds=1)}, "shorter than a second."),
        ({"timezone": "Berlin"}, "There is no time zone 'Berlin'."),
        ({"timezone": 1}, "timezone is 1."),
        ({"fields": {"price": 1}}, "price is no column of testapp.Invoice"),
        ({"fields": {"status": 20}}, "status of testapp.Invoice is not written by you"),
        ({"fields": {"amount": "much"}}, "Its fields are not valid: amount: "),
        ({"fields": {"amount": object()}}, "Its fields cannot be stored: "),
        ({"fields": lambda tick: {"price": tick.year}}, "price is no column"),
        ({"fields": lambda tick: tick}, "which is no mapping of fields"),
        ({"fields": lambda _: {}[1]}, "The function of its fields raised KeyError"),
        ({"fields": 7}, "fields is 7."),
        ({"catch_up": "first"}, "catch_up is 'first'."),
        ({"overlap": "wait"}, "overlap is 'wait'."),
        ({"jitter": -1}, "jitter is -1."),
        ({"deadline": 0}, "deadline is 0."),
        ({"version": "2"}, "version is '2'."),
        ({"name": "n" * 100}, "its key is longer than 100 characters."),
        ({"name": 1}, "name is 1."),
        ({"when": timedelta(days=4_000_000)}, "longer than a hundred years."),
        ({"timezone": "localtime"}, "There is no time zone 'localtime'."),
        ({"timezone": "posix/Europe/Berlin"}, "There is no time zone 'posix/Europe/Berlin'."),
        ({"fields": {"amount": time(6, tzinfo=UTC)}}, "JSON can't represent timezone-aware times"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_a_wrong_schedule_is_an_error(arguments: dict[str, Any], fault: str) -> None:
    schedule(**{"when": DAILY, **arguments})(Invoice)

    (error,) = messages_of_package()

    assert (error.level, error.id, error.obj) == (checks.ERROR, own_checks.SCHEDULE_ID, Invoice)
    assert fault in error.msg
    assert error.hint


def test_right_schedules_have_no_messages() -> None:
    def amount(tick: datetime) -> dict[str, int]:
        return {"amount": tick.astimezone().year}

    schedule(DAILY, timezone="Europe/Berlin", fields={"amount": 5, "priority": 3})(Invoice)
    schedule(timedelta(minutes=5), name="often", fields=amount, jitter=60, deadline=600)(Invoice)
    schedule("0 0 L * *", catch_up="all", overlap="skip")(PaidInvoice)

    assert messages_of_package() == []


@pytest.mark.parametrize(
    ("error", "faults"),
    [
        (ObjectDoesNotExist("no rate"), []),
        (KeyError("rate"), ["Checking its fields raised KeyError: 'rate'"]),
    ],
)
def test_clean_of_a_model_may_raise(
    monkeypatch: pytest.MonkeyPatch, error: Exception, faults: list[str]
) -> None:
    """What only a database knows, is not known yet."""

    def clean(self: Invoice) -> None:
        raise error

    monkeypatch.setattr(Invoice, "clean", clean)
    schedule(DAILY)(Invoice)

    texts = [message.msg.split(": ", 1)[1] for message in messages_of_package()]
    assert texts == faults


def test_two_schedules_of_a_model_need_names() -> None:
    schedule(DAILY)(Invoice)
    schedule(timedelta(hours=1))(Invoice)

    (error,) = messages_of_package()

    assert error.msg == "There are two schedules testapp.Invoice."
    assert 'name="nightly"' in error.hint


def test_a_schedule_on_an_abstract_model_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimpleTask, decorator.ATTRIBUTE, ())
    schedule(DAILY)(SimpleTask)

    messages = [m for m in messages_of_package() if m.id == own_checks.SCHEDULE_ID]

    assert Errand in {message.obj for message in messages}
    assert "abstract model SimpleTask" in messages[0].msg


@pytest.fixture
def other_target() -> Iterator[Any]:
    def tidy() -> None:
        """A function that nothing registered."""

    yield tidy
    decorator.others.clear()


def test_a_schedule_on_what_is_no_task_is_an_error(other_target: Any) -> None:
    schedule(DAILY)(other_target)

    (error,) = messages_of_package()

    assert "is on what is no task" in error.msg
