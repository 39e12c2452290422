"""A task is run again and again, with a crash at each point: ``assert_idempotent()``."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core import mail
from django.db import connection, transaction

from django_simpletask3.exceptions import Retry
from django_simpletask3.models.registry import task_databases
from django_simpletask3.schedules.tables import Schedule, new_change_mark
from django_simpletask3.states import Status
from django_simpletask3.testing import (
    assert_idempotent,
    lose_worker,
    recover,
    run_tasks,
    task_clock,
)
from tests.steps import kinds
from tests.testapp.models import Customer, Invoice

pytestmark = pytest.mark.django_db
COMMITTED = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _with_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_max_retries", 1)


Function = Callable[[Any], Any]


def names() -> list[str]:
    return sorted(Customer.objects.values_list("name", flat=True))


def create(name: str) -> str:
    return Customer.objects.create(name=name).name


def get_or_create(self: Any) -> None:
    Customer.objects.get_or_create(name="a")


def write_in_step(self: Any) -> None:
    self.once("first", create, "a", atomic=True)
    self.once("second", create, "b", atomic=True)


async def write_in_step_awaiting(self: Any) -> None:
    await self.aonce("first", create, "a", atomic=True)


def write_with_outcome(self: Any) -> None:
    """The number is assigned, and so saved with the outcome."""
    self.amount = 7


def write_after_retry(self: Any) -> None:
    if self.attempt == 1:
        raise Retry("not yet", after=0)
    self.once("first", create, "a", atomic=True)


def names_and_amounts() -> Any:
    return names(), list(Invoice.objects.values_list("amount", flat=True))


@pytest.mark.parametrize(
    "work",
    [get_or_create, write_in_step, write_in_step_awaiting, write_with_outcome, write_after_retry],
)
def test_an_idempotent_task_passes_and_leaves_nothing(function: Any, work: Function) -> None:
    function(work)

    pass_and_leave_nothing()


def pass_and_leave_nothing() -> None:
    task = Invoice.objects.create()

    assert_idempotent(task, observe=names_and_amounts)

    assert (task.status, task.attempt) == (Status.PENDING, 0)
    assert names_and_amounts() == ([], [0])
    assert kinds(task) == ["enqueue"]
    assert run_tasks(task).succeeded == [task]


@pytest.mark.django_db(transaction=True)
def test_it_does_so_without_a_transaction_around_it(function: Any) -> None:
    function(write_in_step)

    pass_and_leave_nothing()

    assert not connection.in_atomic_block


class OnlyInDefault:
    """A router by which ``other`` has no table of tasks."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == "default"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"


@pytest.mark.parametrize("is_committed", [False, pytest.param(True, marks=COMMITTED)])
def test_a_database_without_tasks_is_rolled_back_too(
    function: Any, settings: Any, is_committed: bool
) -> None:
    def keys() -> list[str]:
        return list(Schedule.objects.using("other").values_list("key", flat=True))

    def work(self: Any) -> None:
        if not keys():
            change = {"change_mark": new_change_mark(), "active_since": datetime.now(UTC)}
            Schedule.objects.using("other").create(key="a", target="testapp.Invoice", **change)

    function(work)
    settings.DATABASE_ROUTERS = [OnlyInDefault()]
    assert task_databases() == ["default"]

    assert_idempotent(Invoice.objects.create(), observe=keys)

    assert keys() == []


@pytest.mark.parametrize("lost", [1, 2])
def test_the_pause_of_a_task_that_has_lost_workers_does_not_matter(
    function: Any, lost: int
) -> None:
    function(get_or_create)
    task = Invoice.objects.create()
    with task_clock() as clock:
        for _ in range(lost):
            lose_worker(task)
            recover(task)
        clock.shift(60)

        assert_idempotent(task, observe=names)

    assert kinds(task) == ["enqueue", *["start", "recover"] * lost]


def append(self: Any) -> None:
    create("a")


def append_if_not_retried(self: Any) -> None:
    """It thinks that a second attempt means a recorded effect."""
    if self.attempt == 1:
        create("a")


def append_in_step(self: Any) -> None:
    self.once("first", create, "a")


def append_two_in_order(self: Any) -> None:
    self.once("first", create, "a", atomic=True)
    self.once("second", create, "b")


# The function, and after what the difference is found
NOT_IDEMPOTENT = {
    append: r"a second run, after reset\(\)",
    append_if_not_retried: r"crash_after\('start'\)",
    append_in_step: r"crash_before\('checkpoint', step='first'\)",
    append_two_in_order: r"crash_before\('checkpoint', step='second'\)",
}


@pytest.mark.parametrize("work", NOT_IDEMPOTENT, ids=lambda work: work.__name__)
def test_the_point_is_named_at_which_a_difference_arises(function: Any, work: Function) -> None:
    function(work)
    task = Invoice.objects.create()

    with pytest.raises(
        AssertionError, match=rf"Invoice {task.pk} is not idempotent\. .*{NOT_IDEMPOTENT[work]}"
    ):
        assert_idempotent(task, observe=names)

    assert names() == []


def test_both_values_are_shown_as_a_diff(function: Any) -> None:
    function(append)

    with pytest.raises(AssertionError) as raised:
        assert_idempotent(Invoice.objects.create(), observe=names)

    assert str(raised.value).endswith("\n- ['a']\n+ ['a', 'a']")


def test_an_effect_that_only_the_lost_outcome_remembers_is_found(function: Any) -> None:
    """``amount`` is saved with the outcome: after a crash before it, the effect is repeated."""

    def work(self: Any) -> None:
        if not self.amount:
            create("a")
        self.amount = 1

    function(work)

    with pytest.raises(AssertionError, match=r"is not idempotent.*after crash_before\('ack'\)"):
        assert_idempotent(Invoice.objects.create(), observe=names)


def test_the_outcome_of_each_attempt_is_a_point(function: Any) -> None:
    """As above, and the outcome is a retry."""

    def work(self: Any) -> None:
        if not self.amount:
            create("a")
            self.amount = 1
            raise Retry("not yet", after=0)

    function(work)

    with pytest.raises(AssertionError, match=r"is not idempotent. .*crash_before\('retry'\)"):
        assert_idempotent(Invoice.objects.create(), observe=names)


@pytest.fixture
def mailer(settings: Any) -> None:
    """The mailer of which Django 6.1 wants to read in the settings."""
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}


def test_mails_are_taken_back(function: Any, mailer: None) -> None:
    def work(self: Any) -> None:
        mail.send_mail("once", "", None, ["ada@example.com"])

    function(work)
    mail.send_mail("before", "", None, ["ada@example.com"])

    with pytest.raises(AssertionError, match=r"\n  \['before', 'once'\]|'before', 'once', 'once'"):
        assert_idempotent(
            Invoice.objects.create(), observe=lambda: [m.subject for m in mail.outbox]
        )

    assert [m.subject for m in mail.outbox] == ["before"]


def test_other_effects_are_reset_by_setup(function: Any) -> None:
    calls: dict[str, int] = {}

    def work(self: Any) -> None:
        self.once("charge", lambda: calls.setdefault(str(self.idempotency_key("charge")), 3))

    def observe() -> list[int]:
        return list(calls.values())

    function(work)
    task = Invoice.objects.create()

    assert_idempotent(task, observe=observe, setup=calls.clear)
    calls.clear()
    with pytest.raises(AssertionError, match=r"(?s)give setup=.*- \[\]\n\+ \[3\]"):
        assert_idempotent(task, observe=observe)


def test_setup_may_write_to_the_database(function: Any) -> None:
    function(append)

    def setup() -> None:
        create("setup")

    with pytest.raises(AssertionError, match=r"\n- \['a', 'setup'\]\n\+ \['a', 'a', 'setup'\]"):
        assert_idempotent(Invoice.objects.create(), observe=names, setup=setup)

    assert names() == []


def test_the_list_itself_may_be_returned(function: Any) -> None:
    seen: list[int] = []
    function(lambda self: seen.append(1))

    with pytest.raises(AssertionError, match=r"\n- \[1\]\n\+ \[1, 1\]"):
        assert_idempotent(Invoice.objects.create(), observe=lambda: seen, setup=seen.clear)


def test_a_queryset_of_values_is_read_at_once(function: Any) -> None:
    function(append)

    with pytest.raises(AssertionError, match=r"\n- \['a'\]\n\+ \['a', 'a'\]"):
        assert_idempotent(
            Invoice.objects.create(),
            observe=lambda: Customer.objects.values_list("name", flat=True),
        )


def test_querysets_within_a_value_are_read_at_once_too(function: Any) -> None:
    function(get_or_create)

    assert_idempotent(
        Invoice.objects.create(),
        observe=lambda: {"names": (Customer.objects.values_list("name"), iter(["a"]))},
    )


def test_named_rows_keep_their_names(function: Any) -> None:
    function(append)

    with pytest.raises(AssertionError, match=r"\n- \{'all': \[Row\(name='a'\)\]\}\n"):
        assert_idempotent(
            Invoice.objects.create(),
            observe=lambda: {"all": Customer.objects.values_list("name", named=True)},
        )


def test_objects_that_equal_only_themselves_are_refused(function: Any, mailer: None) -> None:
    function(lambda self: mail.send_mail("once", "", None, ["ada@example.com"]))

    with pytest.raises(TypeError, match=r"not even a copy is equal: return values"):
        assert_idempotent(Invoice.objects.create(), observe=lambda: mail.outbox)


def all_in_a_dict() -> Any:
    return {"all": [Customer.objects.all()]}


@pytest.mark.parametrize("observe", [Customer.objects.all, Customer.objects.first, all_in_a_dict])
def test_instances_are_refused(function: Any, observe: Any) -> None:
    function(append)

    with pytest.raises(TypeError, match=r"values_list\(\)"):
        assert_idempotent(Invoice.objects.create(), observe=observe)


def test_an_observation_that_sees_nothing_is_an_error(function: Any) -> None:
    function(append)

    with pytest.raises(AssertionError, match=r"\[\] before and after .* sees no effect"):
        assert_idempotent(Invoice.objects.create(), observe=list)


def test_the_error_of_the_first_run_is_raised(function: Any) -> None:
    def work(self: Any) -> None:
        raise ZeroDivisionError

    function(work)

    with pytest.raises(ZeroDivisionError):
        assert_idempotent(Invoice.objects.create(), observe=names)


def test_an_error_of_a_later_run_is_named(function: Any) -> None:
    def work(self: Any) -> None:
        with transaction.atomic():
            if names():
                raise ZeroDivisionError("there is one")
            create("a")

    function(work)

    with pytest.raises(
        AssertionError, match=r"fails after a second run.*: ZeroDivisionError: there is one"
    ):
        assert_idempotent(Invoice.objects.create(), observe=names)


def test_a_task_that_does_not_succeed_is_an_error(function: Any) -> None:
    def work(self: Any) -> None:
        raise Retry("not yet", after=60)

    function(work)

    with pytest.raises(AssertionError, match=r"is PENDING after one run"):
        assert_idempotent(Invoice.objects.create(), observe=names)


def test_a_task_that_is_dropped_after_a_crash_is_an_error(
    function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    function(get_or_create)
    monkeypatch.setattr(Invoice, "django_simpletask3_max_attempts", 1)

    with pytest.raises(AssertionError, match=r"is FAILED after crash_after\('start'\)"):
        assert_idempotent(Invoice.objects.create(), observe=names)


def test_a_task_that_does_not_wait_is_refused() -> None:
    task = Invoice.objects.create()
    run_tasks(task)

    with pytest.raises(ValueError, match=r"is SUCCESS, and not PENDING\."):
        assert_idempotent(task, observe=names)


def test_why_a_task_is_blocked_is_said() -> None:
    task = Invoice.objects.enqueue(blocked="until approved")

    with pytest.raises(ValueError, match=r"is BLOCKED, and not PENDING\. .*until approved"):
        assert_idempotent(task, observe=names)


def test_a_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^Invoice is no task\.$"):
        assert_idempotent(Invoice, observe=names)  # type: ignore[arg-type]
