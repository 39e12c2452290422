"""A new task that only this package looks at is inserted with its event, and without more work."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, models, transaction
from django.db.models import Value
from django.db.models.signals import post_init, post_save, pre_save
from django.test.utils import CaptureQueriesContext, isolate_apps, override_settings
from django.utils.translation import gettext_lazy, override

from django_simpletask3.context import task_context
from django_simpletask3.db.postgresql.plain_rows import PlainRows
from django_simpletask3.dispatch import after_commit
from django_simpletask3.dispatch.after_commit import CommitHook
from django_simpletask3.ledger.projection import broken_links
from django_simpletask3.ledger.subscribers import subscribe, unsubscribe
from django_simpletask3.models import SimpleTask
from django_simpletask3.signals import event_recorded, task_enqueued, task_transitioned
from django_simpletask3.transitions import participants
from django_simpletask3.transitions.new_tasks import general
from tests.steps import row_of, stream_of
from tests.testapp.models import Bill, Errand, Invoice, Letter, Offer, PaidInvoice, Reminder, Ticket

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="one statement on PostgreSQL"),
]


@pytest.fixture(autouse=True)
def session() -> None:
    """An open session: of one that is opened later it is not known whether it commits."""
    connection.ensure_connection()


@pytest.fixture
def enqueued(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The tasks that were enqueued by the way of every task."""
    tasks: list[Any] = []
    enqueue = general.enqueue

    def spy(new: Any, *args: Any, **options: Any) -> None:
        tasks.extend(new)
        enqueue(new, *args, **options)

    monkeypatch.setattr(general, "enqueue", spy)
    return tasks


def test_a_plain_task_is_one_statement_with_few_parameters(enqueued: list[Any]) -> None:
    with CaptureQueriesContext(connection) as made:
        Invoice(amount=3).save()

    [query] = made.captured_queries
    assert "'enqueue'" in query["sql"]
    assert not enqueued


@pytest.mark.parametrize("model", [Invoice, Offer, Errand, Letter])
def test_what_may_be_plain(model: type[Any], enqueued: list[Any]) -> None:
    model().save()
    model.objects.create()
    model.objects.enqueue()
    with transaction.atomic():
        model().save()

    assert not enqueued


@pytest.mark.parametrize("model", [Bill, PaidInvoice, Ticket])
def test_tasks_of_several_tables_or_a_unique_key_are_not_plain(
    model: type[Any], enqueued: list[Any]
) -> None:
    task = model()
    task.save()

    assert enqueued == [task]


@pytest.mark.parametrize(
    "signal",
    [pre_save, post_save, event_recorded, task_enqueued, task_transitioned],
    ids=["pre_save", "post_save", "event_recorded", "task_enqueued", "task_transitioned"],
)
def test_a_receiver_is_called(signal: Any, request: pytest.FixtureRequest) -> None:
    Invoice().save()  # before there is one
    calls: list[Any] = []
    receive = lambda **_: calls.append(1)  # noqa: E731
    signal.connect(receive, sender=Invoice)
    request.addfinalizer(lambda: signal.disconnect(receive, sender=Invoice))

    Invoice().save()

    assert len(calls) == 1


def test_a_subscriber_gets_its_delivery(enqueued: list[Any]) -> None:
    subscribe("plain", models=Invoice)(lambda task, event: None)
    try:
        Invoice().save()
    finally:
        unsubscribe("plain")

    assert len(enqueued) == 1


def blocked() -> Any:
    task = Invoice()
    task._is_enqueued_blocked = True
    return task


def copied() -> Any:
    task = Invoice()
    task.save()
    task.pk, task._state.adding = None, True
    return task


def with_key() -> Any:
    return Invoice(pk=77_000_000)


@pytest.mark.parametrize("make", [blocked, copied, with_key])
def test_an_instance_that_is_more_than_a_new_row(
    make: Callable[[], Any], enqueued: list[Any]
) -> None:
    task = make()
    enqueued.clear()

    task.save()

    assert enqueued == [task]
    assert broken_links(stream_of(task)) == []


def test_the_context_and_the_settings_of_the_moment_count() -> None:
    tasks = [Invoice() for _ in range(6)]
    data = {"request": "a"}

    tasks[0].save()
    with task_context(actor="ann", reason="first"):
        tasks[1].save()
        with task_context(actor="bob"):
            tasks[2].save()
        with task_context(**data) as current:
            tasks[3].save()
            current.data["request"] = "b"
            tasks[4].save()
    Invoice().save()
    with override_settings(DJANGO_SIMPLETASK3_SIMQ_TIMEOUT_TASK_RECOVERY_INTERVAL=7):
        tasks[5].save()

    events = [stream_of(task)[0] for task in tasks]
    assert [(event.actor, event.reason) for event in events] == [
        *(("", ""), ("ann", "first"), ("bob", "first"), ("ann", "first"), ("ann", "first")),
        ("", ""),
    ]
    assert [event.data for event in events[3:5]] == [{"request": "a"}, {"request": "b"}]
    waits = [(row_of(task).check_at - row_of(task).mod_time).total_seconds() for task in tasks]
    assert waits == [120, 120, 120, 120, 120, 7]
    assert all(broken_links(stream_of(task)) == [] for task in tasks)


@pytest.mark.parametrize("around", [nullcontext, transaction.atomic], ids=["alone", "atomic"])
def test_an_instance_whose_insert_failed_can_be_saved_again(
    around: Callable[[], AbstractContextManager[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Invoice(amount=1)
    before = dict(vars(task))
    monkeypatch.setattr(PlainRows, "insert", _fail)

    with pytest.raises(IntegrityError), around():
        _save_and_look(task)

    assert vars(task) == before
    assert task._state.adding
    monkeypatch.undo()
    task.save()
    assert row_of(task).amount == 1


def _save_and_look(task: Any) -> None:
    try:
        task.save()
    finally:
        assert connection.needs_rollback == connection.in_atomic_block


def _fail(*_: object, **__: object) -> None:
    raise IntegrityError("not this one")


class _Deadlock(Exception):
    sqlstate = "40P01"


def test_an_insert_that_lost_against_another_transaction_is_repeated(
    monkeypatch: pytest.MonkeyPatch, enqueued: list[Any]
) -> None:
    def lose(*_: object) -> None:
        raise OperationalError("deadlock") from _Deadlock()

    monkeypatch.setattr(PlainRows, "insert", lose)
    task = Invoice()

    task.save()

    assert enqueued == [task]
    assert [event.sequence for event in stream_of(task)] == [1]


def test_a_receiver_of_new_events_is_called(request: pytest.FixtureRequest) -> None:
    Invoice().save()
    seen: list[Any] = []
    listen = lambda instance, **_: seen.append(instance)  # noqa: E731
    post_init.connect(listen, sender=Invoice.event_model)
    request.addfinalizer(lambda: post_init.disconnect(listen, sender=Invoice.event_model))

    Invoice().save()

    assert len(seen) == 1


def test_a_bulk_of_plain_tasks_is_one_statement(enqueued: list[Any]) -> None:
    with CaptureQueriesContext(connection) as made:
        tasks = Invoice.objects.bulk_enqueue([{"amount": number} for number in range(5)])

    assert [query["sql"].split()[0] for query in made] == ["BEGIN", "WITH", "COMMIT"]
    assert not enqueued
    assert [row_of(task).amount for task in tasks] == list(range(5))


def test_a_bulk_in_several_statements_is_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    with CaptureQueriesContext(connection) as made:
        tasks = Invoice.objects.bulk_create([Invoice(amount=n) for n in range(5)], batch_size=2)

    statements = [query["sql"].split()[0] for query in made]
    assert statements == ["BEGIN", "WITH", "WITH", "WITH", "COMMIT"]
    assert [row_of(task).amount for task in tasks] == list(range(5))


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([{}, {"run_after": 60}], id="one waits"),
        pytest.param([{}, {"id": 88_000_000}], id="one has a key"),
    ],
)
def test_tasks_that_are_not_alike_are_enqueued_as_all_others(
    rows: list[dict[str, Any]], enqueued: list[Any]
) -> None:
    tasks = Invoice.objects.bulk_enqueue(rows)

    assert enqueued == tasks
    assert all(broken_links(stream_of(task)) == [] for task in tasks)


def test_tasks_with_salts_are_not_alike(enqueued: list[Any]) -> None:
    with task_context(payload="secret"):
        tasks = Invoice.objects.bulk_enqueue([{}, {}])

    first, second = (stream_of(task)[0] for task in tasks)
    assert enqueued == tasks
    assert first.digest != second.digest


def test_a_bulk_whose_insert_failed_can_be_enqueued_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [Invoice(amount=1), Invoice(amount=2)]
    before = [dict(vars(task)) for task in tasks]
    monkeypatch.setattr(PlainRows, "insert_all", lambda *_: _fail())

    with pytest.raises(IntegrityError), transaction.atomic():
        Invoice.objects.bulk_create(tasks)

    assert [vars(task) for task in tasks] == before
    monkeypatch.undo()
    Invoice.objects.bulk_create(tasks)
    assert [row_of(task).amount for task in tasks] == [1, 2]


def test_an_expression_in_a_bulk_spoils_no_transaction() -> None:
    with transaction.atomic():
        tasks = Invoice.objects.bulk_create([Invoice(amount=Value(40) + Value(2)), Invoice()])

    assert row_of(tasks[0]).amount == 42


def test_saves_of_one_transaction_are_pushed_together() -> None:
    with transaction.atomic():
        Invoice().save()
        Invoice().save()
        hooks = [hook for _, hook, *_ in connection.run_on_commit if isinstance(hook, CommitHook)]

    assert len(hooks) == 1
    assert len(hooks[0].messages) == 2


def test_a_receiver_that_connects_before_the_commit_is_called(
    request: pytest.FixtureRequest,
) -> None:
    seen: list[Any] = []
    receive = lambda task, event, **_: seen.append((task, event))  # noqa: E731
    request.addfinalizer(lambda: task_enqueued.disconnect(receive, sender=Invoice))

    with transaction.atomic():
        task = Invoice()
        task.save()
        task_enqueued.connect(receive, sender=Invoice)

    assert seen == [(task, stream_of(task)[0])]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_spoils_the_transaction(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(PlainRows, "insert", fail)
    with pytest.raises(error), transaction.atomic():
        _save_and_look(Invoice())


def test_a_wrong_time_spoils_the_transaction() -> None:
    with pytest.raises(TypeError), transaction.atomic():
        _save_and_look(Invoice(run_after=object()))


def test_the_same_instance_twice_is_refused() -> None:
    task = Invoice()

    with pytest.raises(IntegrityError):
        Invoice.objects.bulk_create([task, task])

    assert not Invoice.objects.exists()


def test_the_text_of_a_lazy_reason_is_that_of_the_moment() -> None:
    tasks = [Invoice(), Invoice()]

    for task, language in zip(tasks, ("en", "de"), strict=True):
        with override(language), task_context(reason=gettext_lazy("Monday")):  # type: ignore[arg-type]
            task.save()

    assert [stream_of(task)[0].reason for task in tasks] == ["Monday", "Montag"]


def test_what_a_check_saves_leaves_the_plan_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    check = participants.check_new

    def save_another(task: Any) -> None:
        check(task)
        if task.amount == 7:
            with task_context(actor="bob"):
                Invoice().save()

    Invoice().save()
    monkeypatch.setattr(participants, "check_new", save_another)
    task = Invoice(amount=7)

    task.save()

    assert stream_of(task)[0].actor == ""


@pytest.mark.parametrize("method", ["save", "save_base", "_save_table"])
@pytest.mark.parametrize("owner", [Invoice, models.Model])
def test_a_method_that_a_test_replaces_is_called(
    method: str, owner: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Invoice().save()
    monkeypatch.setattr(owner, method, _fail)

    with pytest.raises(IntegrityError):
        Invoice().save()


def test_the_save_of_a_class_after_simpletask_is_called() -> None:
    class Refusing(models.Model):
        class Meta:
            abstract = True

        def save(self, *args: Any, **options: Any) -> None:
            raise IntegrityError

    with isolate_apps("tests.testapp"):

        class Refused(SimpleTask, Refusing):
            class Meta:
                app_label = "testapp"

    with pytest.raises(IntegrityError):
        Refused().save()


def test_the_digest_is_over_the_time_that_was_planned() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION later() RETURNS trigger AS 'BEGIN NEW.mod_time = now() + "
            "interval ''1 day''; RETURN NEW; END' LANGUAGE plpgsql"
        )
        cursor.execute(
            "CREATE TRIGGER later BEFORE INSERT ON testapp_invoice "
            "FOR EACH ROW EXECUTE FUNCTION later()"
        )
    try:
        task = Invoice()
        task.save()
        tasks = Invoice.objects.bulk_create([Invoice()])
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION later() CASCADE")

    assert all(broken_links(stream_of(each)) == [] for each in [task, *tasks])


def test_a_session_that_was_closed_tells_nothing_of_autocommit(enqueued: list[Any]) -> None:
    connection.close()

    Invoice().save()

    assert len(enqueued) == 1


def test_events_that_receivers_want_at_the_commit_are_read_together(
    request: pytest.FixtureRequest,
) -> None:
    seen: list[Any] = []
    receive = lambda event, **_: seen.append(event.task_id)  # noqa: E731
    request.addfinalizer(lambda: task_enqueued.disconnect(receive, sender=Invoice))

    with CaptureQueriesContext(connection) as made, transaction.atomic():
        tasks = Invoice.objects.bulk_create([Invoice() for _ in range(7)])
        task_enqueued.connect(receive, sender=Invoice)

    assert seen == [task.pk for task in tasks]
    assert len([query for query in made if query["sql"].startswith("SELECT")]) == 1


def test_late_events_of_two_models_in_turn_are_read_by_a_query_each(
    request: pytest.FixtureRequest,
) -> None:
    seen: list[Any] = []
    receive = lambda task, **_: seen.append(type(task))  # noqa: E731
    request.addfinalizer(lambda: task_enqueued.disconnect(receive))

    with CaptureQueriesContext(connection) as made, transaction.atomic():
        for _ in range(5):
            Invoice().save()
            Reminder(text="now").save()
        task_enqueued.connect(receive)

    assert seen == [Invoice, Reminder] * 5
    assert len([query for query in made if query["sql"].startswith("SELECT")]) == 2


def test_a_dict_that_is_used_again_for_the_next_task_is_read_in_time() -> None:
    def rows() -> Any:
        row: dict[str, Any] = {}
        for number in range(3):
            row["priority"] = number
            yield row

    tasks = Invoice.objects.bulk_enqueue(rows())

    assert [task.priority for task in tasks] == [0, 1, 2]
    assert len({id(task.add_time) for task in tasks}) == 3  # waiting tasks are ordered by it


def test_an_event_that_cannot_be_read_holds_up_no_other(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    receive = lambda task, **_: seen.append(task)  # noqa: E731
    request.addfinalizer(lambda: task_transitioned.disconnect(receive, sender=Invoice))

    def fail(*_: object) -> None:
        raise OperationalError("away")

    with transaction.atomic():
        Invoice().save()
        task_transitioned.connect(receive, sender=Invoice)
        known = Invoice()
        known.save()
        monkeypatch.setattr(after_commit, "events_of", fail)

    assert seen == [known]
