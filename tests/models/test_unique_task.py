"""Tasks of which there is one at a time for each key."""

import itertools
import threading
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from datetime import timezone as fixed_zone
from enum import Enum
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, connection, connections, models, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone

from django_simpletask3.audit.check import audit
from django_simpletask3.db.backends import store_for
from django_simpletask3.exceptions import DuplicateTask, InvalidKey, ProjectedColumn
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.recovery.expired_tasks import expire_tasks
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import FINAL, EventKind, Status
from django_simpletask3.transitions.unique_keys import compute, holders
from django_simpletask3.unique import Unique
from tests.steps import (
    PAST,
    apply_kinds,
    bring_to,
    create_task,
    kinds,
    message_count,
    row_of,
    stream_of,
)
from tests.testapp.models import Bill, ForeignBill, Invoice, PaidBill

pytestmark = pytest.mark.django_db(transaction=True)

Declare = Callable[..., None]


class Number(str, Enum):  # noqa: UP042 - as the choices of a project
    """Formatted, its member is no 7."""

    SEVEN = "7"


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Declare which bills are the same."""

    def declare(template: str = "{number}", **options: Any) -> None:
        monkeypatch.setattr(Bill, "django_simpletask3_unique", Unique(template, **options))

    return declare


def key_of(task: Any) -> UUID | None:
    key: UUID | None = row_of(task).unique_key
    return key


def keys_in_events(task: Any) -> list[tuple[str, Any]]:
    """The kinds of the events that say something of the key, and what."""
    said = [(str(e.kind), e.data or {}) for e in stream_of(task)]
    return [
        (kind, data.get("unique") or data.get("key_freed"))
        for kind, data in said
        if {"unique", "key_freed"} & data.keys()
    ]


def assert_sound(*tasks_left: Any) -> None:
    """The audit finds nothing; with ``tasks_left``, the table holds just these."""
    assert list(audit(Bill, "default")) == []
    if tasks_left:
        assert set(rows_of(Bill, "default")) == set(tasks_left)


def save(number: Any) -> Any:
    task = Bill(number=number)
    task.save()
    return task


def bulk_create(number: Any) -> Any:
    return Bill.objects.bulk_create([Bill(number="other"), Bill(number=number)])[1]


def bulk_enqueue(number: Any) -> Any:
    return Bill.objects.bulk_enqueue([{"number": "other"}, {"number": number}])[1]


def enqueue_blocked(number: Any) -> Any:
    return Bill.objects.enqueue(number=number, blocked=True)


def save_child(number: Any) -> Any:
    return ForeignBill.objects.enqueue(number=number)


def save_proxy(number: Any) -> Any:
    return PaidBill.objects.enqueue(number=number)


WAYS: list[Callable[[Any], Any]] = [
    save,
    lambda number: Bill.objects.create(number=number),
    lambda number: Bill.objects.get_or_create(number=number, priority=1)[0],
    lambda number: Bill.objects.enqueue(number=number),
    bulk_create,
    bulk_enqueue,
    enqueue_blocked,
    save_child,
    save_proxy,
]
each_way = pytest.mark.parametrize(
    "way",
    WAYS,
    ids=[
        *("save", "create", "get_or_create", "enqueue", "bulk_create", "bulk_enqueue"),
        *("blocked", "child", "proxy"),
    ],
)


def test_two_of_a_key_in_one_call_are_refused_with_the_key(redis_url: str) -> None:
    bills = [Bill(number=number) for number in ("6", "7", "7")]

    with pytest.raises(DuplicateTask) as error:
        Bill.objects.bulk_create(bills)

    assert str(error.value) == "Two tasks of this call have the unique key {number} = 7."
    assert error.value.task is bills[1]


def test_a_reset_that_is_refused_names_the_key(redis_url: str) -> None:
    first = Bill.objects.enqueue(number="7")
    first.cancel()
    second = Bill.objects.enqueue(number="7")

    with pytest.raises(DuplicateTask) as error:
        Bill.objects.defer("number").get(pk=first.pk).reset()
    with pytest.raises(DuplicateTask) as with_value:
        first.reset()

    message = f"testapp.Bill {second.pk} has the unique key {{number}}%s of this task."
    assert str(error.value) == message % ""
    assert str(with_value.value) == message % " = 7"


@each_way
@pytest.mark.parametrize("is_in_transaction", [False, True], ids=["alone", "in a transaction"])
def test_a_second_task_of_a_key_is_refused(
    way: Any, is_in_transaction: bool, redis_url: str
) -> None:
    first = Bill.objects.enqueue(number="7")

    if is_in_transaction:
        with transaction.atomic():
            before = Invoice.objects.create()
            with pytest.raises(DuplicateTask, match=f"Bill {first.pk} has the unique key") as error:
                way("7")
            after = Invoice.objects.create()
        assert {row_of(before), row_of(after)} == {before, after}
    else:
        with pytest.raises(DuplicateTask, match=f"Bill {first.pk} has the unique key") as error:
            way("7")

    name = f"{error.value.task._meta.label} {first.pk}"
    message = f"{name} has the unique key {{number}} = 7 of this task."
    way_out = 'Unique(..., on_conflict="join") lets enqueue() return that task.'
    assert str(error.value) == f"{message} {way_out}"
    assert error.value.__cause__ is None
    assert not isinstance(error.value.__context__, DatabaseError)  # its traceback is not shown
    assert error.value.task == first
    assert error.value.task.number == "7"
    assert_sound(first)
    assert message_count(Bill) == 1


@each_way
def test_every_way_takes_the_key_and_says_so(way: Any, redis_url: str) -> None:
    task = way("7")

    expected = compute.key_of(Bill, {"number": "7"})
    assert key_of(task) == task.unique_key == expected
    assert keys_in_events(task) == [("enqueue", str(expected))]
    assert_sound()


@pytest.mark.parametrize("method", ["get_or_create", "update_or_create"])
def test_the_task_that_another_has_created_meanwhile_is_returned(
    method: str, redis_url: str
) -> None:
    others: list[Any] = []

    def save_after_first_query(execute: Any, *args: Any) -> Any:
        result = execute(*args)
        if not others and args[0].startswith("SELECT"):
            others.append(None)
            others[0] = save("7")
        return result

    with connection.execute_wrapper(save_after_first_query):
        task, is_new = getattr(Bill.objects, method)(number="7", defaults={"amount": 3})

    assert (task, is_new) == (others[0], False)
    assert row_of(task).amount == (3 if method == "update_or_create" else 0)
    assert_sound(task)


def test_a_refused_instance_can_be_saved_later(redis_url: str) -> None:
    first, second = save("7"), Bill(number="7")
    with pytest.raises(DuplicateTask):
        second.save()

    first.cancel()
    second.save()

    assert (second.pk is not None, second.was_joined, kinds(second)) == (True, False, ["enqueue"])
    assert_sound(first, second)


def test_a_task_with_an_empty_column_has_no_key(redis_url: str) -> None:
    tasks = [save(None), save(None), *Bill.objects.bulk_enqueue([{}, {}])]

    assert {key_of(task) for task in tasks} == {None}
    assert {tuple(keys_in_events(task)) for task in tasks} == {()}
    assert_sound(*tasks)


def test_keys_differ_as_python_compares_texts(redis_url: str) -> None:
    """MariaDB takes these for the same text, also in a unique index."""
    texts = ["Ada", "ada", "Ada ", "Adá", "A" * 64, "\N{SNOWMAN}"]

    tasks = [save(text) for text in texts]

    assert len({key_of(task) for task in tasks}) == len(texts)


def test_a_value_makes_the_same_key_before_and_after_it_is_stored(
    declare: Declare, redis_url: str
) -> None:
    declare("{amount} {due} {number}")
    zone = fixed_zone(timedelta(hours=2))

    task = Bill.objects.enqueue(
        number=Number.SEVEN, amount="3", due=datetime(2031, 5, 1, tzinfo=zone)
    )

    assert key_of(task) == compute.key_of(Bill, vars(row_of(task)))
    with pytest.raises(DuplicateTask):
        Bill.objects.enqueue(number="7", amount=3, due=datetime(2031, 4, 30, 22, tzinfo=UTC))


@override_settings(TIME_ZONE="Asia/Tokyo")
@pytest.mark.filterwarnings("ignore:DateTimeField")
@pytest.mark.parametrize(
    "due", [datetime(2031, 5, 1, 12), "2031-05-01 12:00", date(2031, 5, 1)], ids=repr
)
def test_a_time_without_a_zone_makes_the_key_of_the_stored_one(
    due: Any, declare: Declare, redis_url: str
) -> None:
    declare("{due}")

    with timezone.override("Europe/Berlin"):
        task = Bill.objects.enqueue(due=due)

    assert key_of(task) == compute.key_of(Bill, vars(row_of(task)))
    task.cancel()
    task.reset()
    with pytest.raises(DuplicateTask):
        Bill.objects.enqueue(due=row_of(task).due)


@override_settings(TIME_ZONE="Asia/Tokyo", USE_TZ=False)
def test_a_time_makes_the_key_of_the_stored_one_without_zones(
    declare: Declare,
) -> None:
    """Only PostgreSQL takes a time with a zone then, and returns it in the default one."""
    declare("{due}")

    keys = {
        compute.key_of(Bill, {"due": due})
        for due in (datetime(2031, 5, 1, 12, tzinfo=UTC), datetime(2031, 5, 1, 21))
    }

    assert len(keys) == 1


def test_an_expression_makes_no_key(redis_url: str) -> None:
    with pytest.raises(ValueError, match=r"number of testapp.Bill .* is an expression"):
        save(F("priority"))

    assert Bill.objects.count() == 0


def test_only_enqueue_and_reset_assign_the_key(redis_url: str) -> None:
    task, other = save("7"), UUID(int=1)

    for wrong in (
        lambda: Bill.objects.create(unique_key=other),
        lambda: Bill.objects.bulk_enqueue([{"unique_key": other}]),
        lambda: Bill.objects.update(unique_key=None),
        lambda: task.save(update_fields=["unique_key"]),
        lambda: Bill.objects.bulk_update([task], ["unique_key"]),
    ):
        with pytest.raises(ProjectedColumn, match="unique_key"):
            wrong()
    task.unique_key = other
    with pytest.raises(ProjectedColumn, match="unique_key"):
        task.save()


def test_a_copy_has_the_key_of_its_own_columns(redis_url: str) -> None:
    task = row_of(save("7"))
    task.pk, task.number = None, "8"

    task.save()

    assert key_of(task) == compute.key_of(Bill, {"number": "8"})


def test_a_changed_column_changes_no_key(redis_url: str) -> None:
    task = save("7")
    task.number = "8"
    task.save()

    with pytest.raises(DuplicateTask):
        save("7")
    assert save("8").pk != task.pk
    assert_sound()


def test_a_constraint_of_the_users_is_still_his(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = save("7")
    calls = itertools.count(1)
    save_row = models.Model.save_base

    def count_calls(self: Any, *args: Any, **kwargs: Any) -> None:
        next(calls)
        save_row(self, *args, **kwargs)

    monkeypatch.setattr(models.Model, "save_base", count_calls)
    with pytest.raises(IntegrityError):
        Bill.objects.create(pk=first.pk, number="8")

    assert next(calls) == 2
    assert_sound(first)


@pytest.mark.parametrize("until", ["started", "finished", "deleted"])
@pytest.mark.parametrize("status", Status)
def test_a_task_has_its_key_until_then(
    until: str, status: Status, declare: Declare, redis_url: str
) -> None:
    declare(until=until)

    task = bring_to(save("7"), status)

    free = {
        "started": FINAL | {Status.RUNNING},
        "finished": FINAL,
        "deleted": frozenset(),
    }[until]
    assert (key_of(task) is None) == (task.unique_key is None) == (status in free)
    assert [kind for kind, said in keys_in_events(task) if said is True] == (
        [] if status not in free else [kinds(task)[1 if until == "started" else -1]]
    )
    if status in free:
        assert save("7").pk != task.pk
    else:
        with pytest.raises(DuplicateTask):
            save("7")
    assert_sound()


@pytest.mark.parametrize("until", ["started", "finished", "deleted"])
@pytest.mark.parametrize(
    "kind",
    [
        *(EventKind.RETRY, EventKind.RECOVER, EventKind.RELEASE, EventKind.SNOOZE),
        *(EventKind.ACK, EventKind.FAIL, EventKind.DROP, EventKind.CANCEL),
    ],
)
def test_no_move_of_a_worker_takes_a_key_back(
    kind: EventKind, until: str, declare: Declare, redis_url: str
) -> None:
    """Another task may have taken the key since the first one started."""
    declare(until=until)
    task = bring_to(save("7"), Status.RUNNING)
    if until == "started":
        save("7")
    held = key_of(task)

    apply_kinds(task, kind, data={"requested": True})

    assert key_of(task) == (None if until == "finished" and task.status in FINAL else held)
    if task.status is Status.PENDING:
        apply_kinds(task, EventKind.START, EventKind.ACK)
    assert (key_of(task) is None) == (until != "deleted")
    assert_sound()


@pytest.mark.parametrize("until", ["started", "finished", "deleted"])
def test_the_dead_have_no_keys(until: str, declare: Declare, redis_url: str) -> None:
    declare(until=until)
    ended = [
        apply_kinds(save("dropped"), EventKind.DROP),
        apply_kinds(save("canceled"), EventKind.CANCEL),
        Bill.objects.enqueue(number="expired", expires=PAST),
        save("deleted"),
    ]
    expire_tasks()
    ended.pop().delete()

    assert save("deleted").status is Status.PENDING
    for number in ("dropped", "canceled", "expired"):
        if until == "deleted":
            with pytest.raises(DuplicateTask):
                save(number)
            Bill.objects.filter(number=number).delete()
        assert save(number).status is Status.PENDING
    assert_sound()


@each_way
@pytest.mark.parametrize("is_in_transaction", [False, True], ids=["alone", "in a transaction"])
def test_a_second_task_joins_or_replaces_the_first(
    way: Any, is_in_transaction: bool, declare: Declare, redis_url: str
) -> None:
    """As ``on_conflict`` says, but ``save()`` always refuses."""
    for on_conflict in ("join", "replace"):
        declare(on_conflict=on_conflict)
        first = Bill.objects.enqueue(number=on_conflict)
        is_refused = WAYS.index(way) in (0, 1, 2, 4)

        with transaction.atomic() if is_in_transaction else nullcontext():
            if is_refused:
                with pytest.raises(DuplicateTask):
                    way(on_conflict)
                continue
            task = way(on_conflict)

        assert (task.pk == first.pk) == task.was_joined == (on_conflict == "join")
        if on_conflict == "replace":
            first = row_of(first)
            reason = stream_of(first)[-1].reason
            assert (first.status, first.unique_key, reason) == (Status.CANCELED, None, "replaced")
            assert stream_of(task)[0].data["replaces"] == f"testapp.Bill:{first.pk}"
    assert_sound()


def test_a_replaced_task_does_not_run(declare: Declare, redis_url: str) -> None:
    declare(on_conflict="replace")

    tasks = [Bill.objects.enqueue(number="7") for _ in range(3)]

    assert [row_of(task).status for task in tasks] == [2 * [Status.CANCELED], Status.PENDING][0] + [
        Status.PENDING
    ]
    assert message_count(Bill) == 1


@pytest.mark.parametrize("until", ["finished", "deleted"])
@pytest.mark.parametrize("status", [Status.RUNNING, Status.SUCCESS, Status.FAILED, Status.CANCELED])
def test_a_task_that_does_not_wait_is_not_replaced(
    status: Status, until: str, declare: Declare, redis_url: str
) -> None:
    declare(until=until)
    first = bring_to(save("7"), status)
    declare(until="finished", on_conflict="replace")

    if until == "finished" and status in FINAL:
        assert Bill.objects.enqueue(number="7").pk != first.pk
        return
    for enqueue in (
        lambda: Bill.objects.enqueue(number="7"),
        lambda: Bill.objects.bulk_enqueue([{"number": "8"}, {"number": "7"}]),
    ):
        with pytest.raises(DuplicateTask) as error:
            enqueue()
        assert error.value.task == first
    assert_sound(first)
    assert row_of(first).status is status


def test_a_task_whose_successor_cannot_be_inserted_goes_on_waiting(
    declare: Declare, redis_url: str, listen: Any
) -> None:
    declare(on_conflict="replace")
    first = save("7")

    def fail(event: Any, **_: Any) -> None:
        if event.kind == EventKind.ENQUEUE:
            raise ValueError("no")

    listen(fail, event_recorded)
    with pytest.raises(ValueError, match="no"):
        Bill.objects.enqueue(number="7")

    assert kinds(first) == ["enqueue"]
    assert_sound(first)
    assert message_count(Bill) == 1


def test_a_waiting_retry_can_be_joined_and_replaced(declare: Declare, redis_url: str) -> None:
    declare(until="finished", on_conflict="join")
    first = apply_kinds(save("7"), EventKind.START, EventKind.RETRY)

    joined = Bill.objects.enqueue(number="7")
    declare(until="finished", on_conflict="replace")
    replacing = Bill.objects.enqueue(number="7")

    assert (joined.pk, joined.was_joined) == (first.pk, True)
    assert row_of(first).status is Status.CANCELED
    assert_sound(first, replacing)


def test_many_tasks_join_in_their_order(declare: Declare, redis_url: str) -> None:
    declare(on_conflict="join")
    old = {number: save(number) for number in ("b", "d")}
    numbers = ["a", "b", "a", None, "c", "d", "b", None]

    tasks = Bill.objects.bulk_enqueue([{"number": number} for number in numbers])

    assert [task.number for task in tasks] == numbers
    assert [task.was_joined for task in tasks] == [
        *(False, True, True, False),
        *(False, True, True, False),
    ]
    assert tasks[0].pk == tasks[2].pk
    assert tasks[1].pk == tasks[6].pk == old["b"].pk
    assert len({id(task) for task in tasks}) == len(tasks)
    assert Bill.objects.count() == message_count(Bill) == 6
    assert_sound()


def test_many_tasks_replace_in_their_order(declare: Declare, redis_url: str) -> None:
    declare(on_conflict="replace")
    old = save("b")
    numbers = ["a", "b", "a", None, "b", "a"]

    tasks = Bill.objects.bulk_enqueue([{"number": number} for number in numbers])

    canceled = Status.CANCELED
    assert [row_of(task).status for task in (old, *tasks)] == [
        *(canceled, canceled, canceled, canceled, Status.PENDING),
        *(Status.PENDING, Status.PENDING),
    ]
    assert [task.number for task in tasks] == numbers
    replaced = [(stream_of(task)[0].data or {}).get("replaces", ":")[-4:] for task in tasks]
    assert [name.rpartition(":")[2] for name in replaced] == [
        *("", str(old.pk), str(tasks[0].pk), "", str(tasks[1].pk), str(tasks[2].pk))
    ]
    assert_sound(old, *tasks)


@pytest.mark.parametrize("numbers", [["a", "b", "a"], ["a", "7"], ["7"]], ids=str)
def test_of_many_tasks_none_is_enqueued_if_one_is_refused(
    numbers: list[str], redis_url: str
) -> None:
    first = save("7")

    for enqueue in (Bill.objects.bulk_enqueue, lambda t: Bill.objects.bulk_create(list(t))):
        with transaction.atomic(), pytest.raises(DuplicateTask) as error:
            enqueue([Bill(number=number) for number in numbers])
        assert error.value.task.number == numbers[-1]

    assert_sound(first)
    assert message_count(Bill) == 1


def test_one_conflict_among_a_thousand_does_not_block_the_others(
    declare: Declare, redis_url: str
) -> None:
    declare(on_conflict="join")
    old = save("500")

    tasks = Bill.objects.bulk_enqueue([{"number": str(n)} for n in range(1000)])

    assert [n for n, task in enumerate(tasks) if task.was_joined] == [500]
    assert [task.number for task in tasks] == [str(n) for n in range(1000)]
    assert tasks[500].pk == old.pk
    assert Bill.objects.count() == message_count(Bill) == 1000


def test_a_conflict_that_comes_meanwhile_is_resolved_too(
    declare: Declare, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the keys and the insert."""
    declare(on_conflict="join")
    monkeypatch.setattr(
        "django_simpletask3.transitions.unique_keys.conflicts.find",
        partial(_find_late, itertools.count()),
    )

    tasks = Bill.objects.bulk_enqueue([{"number": number} for number in "abc"])

    assert [task.was_joined for task in tasks] == [False, True, False]
    assert_sound()


def _find_late(calls: Any, *args: Any, **options: Any) -> Any:
    found = holders.find(*args, **options)
    if next(calls) == 0:
        _in_thread(lambda: save("b"))
    return found


def _in_thread(work: Callable[[], object]) -> None:
    """Call ``work`` in another session."""

    def run() -> None:
        work()
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def test_an_empty_call_enqueues_nothing(declare: Declare, redis_url: str) -> None:
    for on_conflict in ("refuse", "join", "replace"):
        declare(on_conflict=on_conflict)
        assert Bill.objects.bulk_enqueue([]) == []


def test_coroutines_join_too(declare: Declare, redis_url: str) -> None:
    declare(on_conflict="join")

    async def enqueue_all() -> list[Any]:
        tasks = [await Bill.objects.aenqueue(number="7") for _ in range(2)]
        return [*tasks, *await Bill.objects.abulk_enqueue([{"number": "7"}])]

    first, second, third = async_to_sync(enqueue_all)()

    assert (second.pk, second.was_joined, third.pk, third.was_joined) == (
        *(first.pk, True),
        *(first.pk, True),
    )


@pytest.mark.parametrize("on_conflict", ["refuse", "join", "replace"])
def test_each_database_has_keys_of_its_own(
    on_conflict: str, declare: Declare, redis_url: str
) -> None:
    declare(on_conflict=on_conflict)
    here = save("7")

    there = Bill.objects.using("other").enqueue(number="7")
    assert not there.was_joined
    if on_conflict == "refuse":
        with pytest.raises(DuplicateTask) as error:
            Bill.objects.using("other").enqueue(number="7")
        assert error.value.task._state.db == "other"
    else:
        second = Bill.objects.using("other").enqueue(number="7")
        assert second.was_joined == (on_conflict == "join")
        assert second._state.db == "other"

    assert row_of(here).status is Status.PENDING
    assert list(audit(Bill, "other")) == list(audit(Bill, "default")) == []


def test_one_statement_inserts_a_unique_task_in_a_transaction_too(redis_url: str) -> None:
    if not store_for(Bill, "default").has_batch_statements:
        pytest.skip("only PostgreSQL can")

    with CaptureQueriesContext(
        connection,
    ) as alone:
        save("7")
    with transaction.atomic(), CaptureQueriesContext(connection) as inside:
        save("8")
        with pytest.raises(DuplicateTask):
            save("7")

    assert len(alone) == 1
    assert [query["sql"].split()[0] for query in inside] == ["WITH", "WITH", "SELECT"]


def test_a_receiver_that_raises_frees_the_key(redis_url: str, listen: Any) -> None:
    def fail(**_: Any) -> None:
        raise ValueError("no")

    listen(fail, event_recorded)
    with pytest.raises(ValueError, match="no"):
        save("7")
    event_recorded.disconnect(fail)

    assert save("7").pk is not None


def test_validation_names_the_column(redis_url: str) -> None:
    first = save("7")

    with pytest.raises(ValidationError) as error:
        Bill(number="7", script={}).full_clean()

    assert list(error.value.message_dict) == ["number"]
    Bill(number="8", script={}).full_clean()
    first.full_clean()
    Bill(number="7", script={}).full_clean(exclude=["number"])


@pytest.mark.parametrize("until", ["started", "finished", "deleted"])
@pytest.mark.parametrize("status", Status)
def test_a_reset_takes_the_key_of_the_columns_as_they_are_now(
    status: Status, until: str, declare: Declare, redis_url: str
) -> None:
    declare(until=until)
    task = bring_to(save("7"), status)
    Bill.objects.filter(pk=task.pk).update(number="8")  # the instance has the old one

    task.reset()

    expected = compute.key_of(Bill, {"number": "8"})
    assert key_of(task) == task.unique_key == expected
    assert keys_in_events(task)[-1] == ("reset", str(expected))
    assert save("7").pk != task.pk
    assert_sound()


@pytest.mark.parametrize("is_in_transaction", [False, True], ids=["alone", "in a transaction"])
def test_a_reset_is_refused_while_another_task_has_the_key(
    is_in_transaction: bool, redis_url: str
) -> None:
    task = bring_to(save("7"), Status.SUCCESS)
    second = save("7")

    with transaction.atomic() if is_in_transaction else nullcontext():
        with pytest.raises(DuplicateTask) as error:
            task.reset()
        Invoice.objects.create()

    assert (error.value.task, error.value.pk, error.value.kind) == (second, task.pk, "reset")
    assert (row_of(task).status, task.status) == (Status.SUCCESS, Status.SUCCESS)
    assert kinds(task) == ["enqueue", "start", "ack"]
    assert_sound(task, second)


def test_of_many_resets_the_others_go_on(redis_url: str) -> None:
    failed = [bring_to(save(number), Status.FAILED) for number in "abacd"]
    waiting = save("c")
    without_key = bring_to(save(None), Status.FAILED)

    assert Bill.objects.failed().reset("again") == 4

    statuses = [row_of(task).status for task in (*failed, without_key, waiting)]
    pending, old = Status.PENDING, Status.FAILED
    assert statuses == [pending, pending, old, old, pending, pending, pending]
    assert Bill.objects.failed().reset("again") == 0
    assert_sound()


@pytest.mark.parametrize(("order", "chosen"), [((), 0), (("pk",), 0), (("-pk",), 2)])
def test_the_first_of_two_with_one_key_is_reset(
    redis_url: str, order: tuple[str, ...], chosen: int
) -> None:
    failed = [bring_to(save("a"), Status.FAILED) for _ in range(3)]
    Bill.objects.filter(pk=failed[0].pk).update(amount=1)  # PostgreSQL puts it behind

    assert Bill.objects.failed().order_by(*order).reset("again") == 1

    assert row_of(failed[chosen]).status == Status.PENDING
    assert_sound()


def test_of_tasks_that_are_distinct_by_a_column_one_is_reset(redis_url: str) -> None:
    if not connection.features.can_distinct_on_fields:
        pytest.skip("no DISTINCT ON")
    for number in "aabb":
        bring_to(save(number), Status.FAILED)

    assert Bill.objects.failed().distinct("number").reset("again") == 2

    assert sorted(Bill.objects.pending().values_list("number", flat=True)) == ["a", "b"]
    assert_sound()


def test_a_reset_whose_key_is_taken_meanwhile_stops_no_other(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the keys and the update."""
    if not connection.features.has_select_for_update:
        pytest.skip("no other writer can come meanwhile")
    failed = [bring_to(save(number), Status.FAILED) for number in "abc"]
    monkeypatch.setattr(
        "django_simpletask3.transitions.unique_keys.resets.find",
        partial(_find_late, itertools.count()),
    )

    assert Bill.objects.failed().reset("again") == 2

    assert [row_of(task).status for task in failed] == [
        *(Status.PENDING, Status.FAILED, Status.PENDING),
    ]
    assert failed[1].status is Status.FAILED
    assert_sound()


def test_a_reset_is_refused_too_if_its_key_is_taken_meanwhile(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not connection.features.has_select_for_update:
        pytest.skip("no other writer can come meanwhile")
    failed = bring_to(save("b"), Status.FAILED)
    monkeypatch.setattr(
        "django_simpletask3.transitions.unique_keys.resets.find",
        partial(_find_late, itertools.count()),
    )

    with pytest.raises(DuplicateTask) as error:
        failed.reset()

    assert (error.value.task.number, error.value.pk) == ("b", failed.pk)
    assert kinds(failed) == ["enqueue", "start", "fail"]
    assert_sound()


def test_a_reset_is_tried_again_if_its_key_was_freed_meanwhile(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another task takes the key before the update, and frees it before the second look."""
    if not connection.features.has_select_for_update:
        pytest.skip("no other writer can come meanwhile")
    failed = bring_to(save("b"), Status.FAILED)
    calls = itertools.count()

    def find_late(*args: Any, **options: Any) -> Any:
        if (call := next(calls)) == 1:
            _in_thread(lambda: Bill.objects.get(status=Status.PENDING).cancel())
        found = holders.find(*args, **options)
        if call == 0:
            _in_thread(lambda: save("b"))
        return found

    monkeypatch.setattr("django_simpletask3.transitions.unique_keys.resets.find", find_late)
    failed.reset()

    assert row_of(failed).status == Status.PENDING
    assert_sound()


def test_a_blocked_task_that_is_reset_keeps_its_key(redis_url: str) -> None:
    task = Bill.objects.enqueue(number="7", blocked=True)

    task.reset("run it anyway")

    assert key_of(task) is not None
    assert_sound(task)


def test_the_audit_finds_a_key_that_no_event_says(redis_url: str) -> None:
    edited, emptied, given, taken = (
        save("a"),
        save("b"),
        bring_to(save("c"), Status.SUCCESS),
        save("d"),
    )
    rows_of(Bill, "default").filter(pk=edited.pk).update_managed(unique_key=UUID(int=1))
    rows_of(Bill, "default").filter(pk__in=[emptied.pk, taken.pk]).update_managed(unique_key=None)
    rows_of(Bill, "default").filter(pk=given.pk).update_managed(unique_key=UUID(int=2))
    second = save("d")

    found = list(audit(Bill, "default", repair=True))

    assert {int(f.task) for f in found} == {edited.pk, emptied.pk, given.pk, taken.pk}
    assert all(f.repaired and "unique_key is" in f.detail for f in found)
    assert_sound()
    assert [key_of(task) for task in (edited, emptied, given, taken, second)] == [
        *(edited.unique_key, emptied.unique_key, None),
        *(None, second.unique_key),
    ]
    assert keys_in_events(taken)[-1] == ("note", True)


def test_an_erased_key_is_unknown(declare: Declare, redis_url: str) -> None:
    """It is part of a digest of columns: what may be guessed must be erasable."""
    declare(until="deleted")
    task = bring_to(save("7"), Status.SUCCESS)

    assert task.erase("requested")

    assert "erased" in str(stream_of(task)[0].data["unique"])
    with pytest.raises(DuplicateTask):
        save("7")
    assert_sound(task)


def test_a_row_without_events_keeps_the_key_it_has(redis_url: str) -> None:
    """A fixture, or SQL."""
    key = compute.key_of(Bill, {"number": "7"})
    row = Bill(number="7", unique_key=key)
    models.Model.save_base(row, raw=True, force_insert=True)

    with pytest.raises(DuplicateTask):
        save("7")
    apply_kinds(row, EventKind.NOTE)
    assert key_of(row) == key
    apply_kinds(row, EventKind.START)

    assert key_of(row) is None
    assert_sound(row)


def test_another_model_with_a_column_of_that_name_has_no_keys(redis_url: str) -> None:
    task = Invoice.objects.create()

    assert compute.declaration(Invoice) is None
    assert keys_in_events(apply_kinds(task, EventKind.START, EventKind.ACK)) == []


def test_a_format_that_does_not_fit_is_an_error_of_save(declare: Declare) -> None:
    declare("{number:04d}")

    with pytest.raises(InvalidKey, match=r"'\{number:04d\}' cannot be made of number='a': Unknown"):
        Bill.objects.enqueue(number="a")
    with pytest.raises(InvalidKey, match=r"number of .* is an expression"):
        Bill.objects.enqueue(number=F("priority"))
    with pytest.raises(ValidationError, match="cannot be made of"):
        Bill(number="a").full_clean()

    assert not Bill.objects.exists()


def test_a_reset_whose_key_cannot_be_made_is_refused_and_the_others_go_on(
    declare: Declare,
) -> None:
    wrong, right = (
        bring_to(create_task(Bill, number=number), Status.SUCCESS) for number in ("a", None)
    )
    declare("{number:04d}")

    assert Bill.objects.all().reset("again") == 1
    with pytest.raises(InvalidKey, match="cannot be made of number='a'"):
        wrong.reset()

    assert [row_of(task).status for task in (wrong, right)] == [Status.SUCCESS, Status.PENDING]
