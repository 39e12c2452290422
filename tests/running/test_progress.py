"""``progress()`` and ``track()``: what is kept, what is written, and when."""

import contextvars
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction

from django_simpletask3.exceptions import Cancel, Retry, Snooze, TaskStopped
from django_simpletask3.execution.finish import finish, release
from django_simpletask3.execution.perform import perform
from django_simpletask3.execution.run import Run
from django_simpletask3.ledger.projection import broken_links
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.running import progress_writer
from django_simpletask3.running.progress_writer import ProgressWriter
from django_simpletask3.signals import event_recorded
from django_simpletask3.states import EventKind
from tests.eventually import eventually
from tests.running.conftest import Perform, finished, statements_of
from tests.steps import apply_kinds, create_task, kinds, row_of, stream_of
from tests.testapp.models import Customer, Everywhere, ForeignInvoice, Invoice, Ledger, Offer

pytestmark = pytest.mark.django_db(transaction=True)

one_statement = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="several statements here"
)


class Clock:
    """A writer without a thread, and the time by which it writes."""

    def __init__(self, writer: ProgressWriter) -> None:
        self.writer = writer
        self.now = time.monotonic()

    def after(self, seconds: float) -> int:
        """The number of notes that are written that much later."""
        self.now = max(self.now, time.monotonic()) + seconds
        # Without the context of the task function, as in a thread of its own.
        return contextvars.Context().run(self.writer.write_due, self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Progress is written when the test says so, in its own thread."""
    writer = ProgressWriter()
    monkeypatch.setattr(writer, "_run", lambda: None)
    monkeypatch.setattr(progress_writer, "current", writer)
    return Clock(writer)


def notes(task: Any) -> list[tuple[str, Any]]:
    """Reason and data of the notes of ``task``."""
    return [(e.reason, e.data) for e in stream_of(task) if e.kind == EventKind.NOTE]


def last_progress(task: Any) -> Any:
    """What the outcome says of the progress."""
    return stream_of(task)[-1].data["progress"]


def test_progress_is_a_note_of_the_attempt_and_in_the_outcome(
    perform_function: Perform, clock: Clock
) -> None:
    def function(task: Any) -> None:
        task.progress(1, 4, "first page")
        clock.after(1)
        task.progress(3, 4, "third page")

    task = finished(perform_function(function))

    assert notes(task) == [("first page", {"progress": {"done": 1, "total": 4}})]
    note, outcome = stream_of(task)[-2:]
    assert (note.attempt, note.worker) == (1, "node:1:token")
    assert outcome.data["progress"] == {"done": 3, "total": 4, "message": "third page"}
    assert broken_links(stream_of(task)) == []


def test_a_function_that_ends_within_a_second_leaves_no_note(
    perform_function: Perform, clock: Clock
) -> None:
    def function(task: Any) -> None:
        for number in range(100):
            task.progress(number, 100)
        assert clock.after(0.9) == 0

    assert kinds(finished(perform_function(function))) == ["enqueue", "start", "ack"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("no"), "fail"),
        (TaskStopped(None), "fail"),
        (Retry("later", after=0), "retry"),
        (Snooze("later", after=1), "snooze"),
        (Cancel("enough"), "cancel"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_every_outcome_says_how_far_the_function_came(
    perform_function: Perform,
    clock: Clock,
    error: BaseException,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Invoice, "django_simpletask3_max_retries", int(kind == "retry"))

    def function(task: Any) -> None:
        task.progress(7)
        raise error

    outcome = stream_of(finished(perform_function(function)))[-1]

    assert outcome.kind == kind
    assert outcome.data["progress"] == {"done": 7}


def test_a_released_task_says_how_far_it_came(perform_function: Perform, clock: Clock) -> None:
    def function(task: Any) -> None:
        task.progress(7, 8)
        release([task._running_attempt], "worker_stopping")
        assert clock.after(1) == 0
        assert clock.after(1) == 0

    run = perform_function(function)

    assert kinds(run.task) == ["enqueue", "start", "release"]
    assert stream_of(run.task)[-1].data["progress"] == {"done": 7, "total": 8}


def test_notes_become_rarer_the_longer_it_takes(perform_function: Perform, clock: Clock) -> None:
    written: dict[int, int] = {}

    def function(task: Any) -> None:
        for second in (*range(30), *range(600, 630), *range(3600, 3700)):
            task.progress(second)
            written[second] = clock.after(second - max(written, default=-1))

    perform_function(function)

    of_period = [
        sum(number for second, number in written.items() if begin <= second < end)
        for begin, end in [(0, 30), (600, 630), (3600, 3700)]
    ]
    # Each second, every six seconds, every 36 seconds.
    assert of_period == [30, 5, 3]


def test_progress_that_stays_is_written_once(perform_function: Perform, clock: Clock) -> None:
    written: list[int] = []

    def function(task: Any) -> None:
        for _ in range(5):
            task.progress(1, 2)
            written.append(clock.after(1))

    perform_function(function)

    assert written == [1, 0, 0, 0, 0]


@one_statement
def test_the_notes_of_a_table_are_one_statement_and_so_is_the_outcome_after_them(
    perform_function: Perform, clock: Clock
) -> None:
    made: list[str] = []

    def outer(task: Any) -> None:
        perform_function(lambda inner: [task.progress(1, 2), inner.progress(1, 2)] and write())
        task.progress(2, 2)

    def write() -> None:
        made.extend(statements_of(lambda: clock.after(1)))

    run = perform_function(outer)

    assert made == ["WITH"]
    assert statements_of(lambda: finish([run])) == ["WITH"]
    assert kinds(run.task) == ["enqueue", "start", "note", "ack"]


def test_the_notes_of_each_table_and_database_are_written(
    perform_function: Perform, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [create_task(Ledger), create_task(ForeignInvoice), Everywhere(script={})]
    tasks[2].save(using="other")
    runs = [Run(apply_kinds(task, EventKind.START), "w") for task in tasks]
    written: list[int] = []

    def function(task: Any, rest: list[Run]) -> None:
        task.progress(1, 2)
        if rest:
            monkeypatch.setattr(
                type(rest[0].task), "do_task", lambda self: function(self, rest[1:])
            )
            perform(rest[0])
        else:
            written.append(clock.after(1))

    monkeypatch.setattr(Ledger, "do_task", lambda self: function(self, runs[1:]))
    perform(runs[0])

    assert written == [3]
    assert [kinds(task) for task in tasks] == [["enqueue", "start", "note"]] * 3


def test_a_locked_row_is_passed_over_and_written_later(
    perform_function: Perform, clock: Clock
) -> None:
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("rows cannot be passed over here")
    written: list[int] = []

    def function(task: Any) -> None:
        with transaction.atomic(), in_thread() as run:
            rows_of(Invoice, "default").select_for_update().get(pk=task.pk)
            task.progress(1, 2)
            written.append(run(lambda: clock.after(1)))
        written.append(clock.after(0))

    task = finished(perform_function(function))

    assert written == [0, 1]
    assert kinds(task) == ["enqueue", "start", "note", "ack"]


@contextmanager
def in_thread() -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Run calls in another thread, with connections of its own."""

    def run(work: Callable[[], Any]) -> Any:
        found: list[Any] = []

        def target() -> None:
            try:
                found.append(work())
            finally:
                connections.close_all()

        thread = threading.Thread(target=target)
        thread.start()
        thread.join(20)
        [value] = found
        return value

    yield run


def test_an_attempt_that_lost_its_task_writes_nothing_and_stops(
    perform_function: Perform, clock: Clock
) -> None:
    def function(task: Any) -> str:
        task.progress(1, 2)
        Invoice.objects.get(pk=task.pk).reset()
        assert clock.after(1) == 0
        with pytest.raises(TaskStopped):
            task.check_stop()
        return "too late"

    run = perform_function(function)

    # The note that came too late is no late result.
    assert kinds(run.task) == ["enqueue", "start", "reset"]


def test_a_row_that_cannot_be_seen_stops_no_function(
    perform_function: Perform, clock: Clock
) -> None:
    def function(task: Any) -> bool:
        task.progress(1, 2)
        Invoice.objects.filter(pk=task.pk)._raw_delete("default")
        return clock.after(1) == 0 and not task.should_stop

    run = perform_function(function)

    assert run.transition is not None
    assert run.transition.result is True


def test_a_database_that_is_away_delays_the_note(perform_function: Perform, clock: Clock) -> None:
    def refuse(*_: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    written: list[int] = []

    def function(task: Any) -> None:
        task.progress(1, 2)
        with connection.execute_wrapper(refuse):
            written.extend(clock.after(1) for _ in range(3))
        task.progress(2, 2)
        written.append(clock.after(3))

    assert finished(perform_function(function)).success
    assert written == [0, 0, 0, 1]


def test_a_receiver_that_raises_delays_the_note(
    perform_function: Perform, clock: Clock, listen: Callable[..., None]
) -> None:
    written: list[int] = []

    def receive(event: Any, **_: Any) -> None:
        if event.kind == EventKind.NOTE and not written:
            raise SystemExit

    def function(task: Any) -> None:
        task.progress(1, 2)
        written.append(clock.after(1))
        written.append(clock.after(1))

    listen(receive, event_recorded)

    assert finished(perform_function(function)).success
    assert written == [0, 1]


def test_a_thread_writes_and_ends_when_there_is_nothing_to_write(
    perform_function: Perform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_writer, "_STEP_SECONDS", 0.02)
    monkeypatch.setattr(progress_writer, "_LINGER_SECONDS", 0.02)

    def function(task: Any) -> None:
        task.progress(1, 2)
        eventually(lambda: notes(task))
        assert "progress" in names_of_threads()

    assert finished(perform_function(function)).success
    eventually(lambda: "progress" not in names_of_threads())


def names_of_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_a_function_without_progress_starts_no_thread(perform_function: Perform) -> None:
    eventually(lambda: "progress" not in names_of_threads())

    perform_function(lambda task: task.note("here"))

    assert "progress" not in names_of_threads()


def test_a_writing_transaction_of_the_function_is_not_waited_for(
    perform_function: Perform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress_writer, "_STEP_SECONDS", 0.02)
    caplog.set_level(logging.DEBUG, "django_simpletask3.tasks")

    def function(task: Any) -> None:
        with transaction.atomic():
            task.save()
            task.progress(1, 2)
            if connection.vendor == "sqlite":  # one writer at a time
                eventually(lambda: "progress_postponed" in caplog.text, timeout=3)
            assert notes(task) == []
        eventually(lambda: notes(task))

    assert finished(perform_function(function)).success


def test_tracked_rows_are_counted(perform_function: Perform, clock: Clock) -> None:
    def function(task: Any) -> list[str]:
        rows = []
        for row in task.track("abcd", message="letters"):
            rows.append(row)
            clock.after(1)
        return rows

    task = finished(perform_function(function))

    assert task.result_data == ["a", "b", "c", "d"]
    assert notes(task) == [
        ("letters", {"progress": {"done": done, "total": 4}}) for done in range(4)
    ]
    assert last_progress(task) == {"done": 4, "total": 4, "message": "letters"}


def test_a_total_may_be_given(perform_function: Perform) -> None:
    task = finished(perform_function(lambda task: list(task.track(iter("ab"), total=8))))

    assert last_progress(task) == {"done": 2, "total": 8}


def test_tracking_stops_before_the_next_row(perform_function: Perform) -> None:
    seen: list[int] = []

    def function(task: Any) -> None:
        for row in task.track(range(10)):
            seen.append(row)
            if row == 3:
                task.cancel("enough")

    task = perform_function(function).task

    assert seen == [0, 1, 2, 3]
    assert kinds(task) == ["enqueue", "start", "cancel"]


def test_a_coroutine_reports_progress(perform_function: Perform) -> None:
    async def function(task: Any) -> None:
        await task.aprogress(1, 2, message="half")

    task = finished(perform_function(function))

    assert last_progress(task)["message"] == "half"


def test_a_coroutine_tracks_rows(perform_function: Perform) -> None:
    Customer.objects.bulk_create([Customer(name="Ada"), Customer(name="Eve")])

    async def function(task: Any) -> list[int]:
        each = [[4, 5], Customer.objects.all(), asynchronously("ab")]
        return [len([row async for row in task.atrack(rows)]) for rows in each]

    task = finished(perform_function(function))

    assert task.result_data == [2, 2, 2]
    assert last_progress(task) == {"done": 2}


async def asynchronously(rows: Iterable[Any]) -> AsyncIterator[Any]:
    for row in rows:
        yield row


def test_a_coroutine_stops_before_the_next_row(perform_function: Perform) -> None:
    seen: list[int] = []

    async def function(task: Any) -> None:
        async for row in task.atrack(range(10)):
            seen.append(row)
            if row == 3:
                await task.acancel("enough")

    assert kinds(perform_function(function).task) == ["enqueue", "start", "cancel"]
    assert seen == [0, 1, 2, 3]


def test_the_thread_of_the_function_executes_nothing(
    perform_function: Perform, clock: Clock
) -> None:
    made: list[str] = []

    def function(task: Any) -> None:
        made.extend(statements_of(lambda: [task.progress(n, 1000) for n in range(1000)]))
        made.extend(statements_of(lambda: list(task.track(range(1000)))))

    perform_function(function)

    assert made == []


def test_a_task_that_may_expire_reports_progress(perform_function: Perform, clock: Clock) -> None:
    written: list[int] = []

    def function(task: Any) -> None:
        for done in (1, 2):
            task.progress(done)
            written.append(clock.after(1))

    task = finished(perform_function(function, Offer.objects.enqueue(expires=60)))

    assert written == [1, 1]
    assert kinds(task) == ["enqueue", "start", "note", "note", "ack"]


def test_a_note_that_comes_after_the_outcome_is_refused_and_stops_nothing(
    perform_function: Perform, clock: Clock
) -> None:
    begun: list[Any] = []

    def function(task: Any) -> None:
        task.progress(1, 2)
        begun.extend(clock.writer._watched.values())

    run = perform_function(function)
    task = finished(run)

    assert clock.writer._write(begun, clock.now) == 0
    assert kinds(task) == ["enqueue", "start", "ack"]
    assert not run.task.should_stop


def test_what_the_instance_says_is_left_alone(perform_function: Perform, clock: Clock) -> None:
    def function(task: Any) -> None:
        task.amount = 5
        before = dict(vars(task))
        task.progress(1, 2)
        assert clock.after(1) == 1
        assert {n: v for n, v in vars(task).items() if not n.startswith("_")} == {
            n: v for n, v in before.items() if not n.startswith("_")
        }

    task = finished(perform_function(function))

    assert row_of(task).amount == 5
    assert broken_links(stream_of(task)) == []
