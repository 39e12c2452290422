"""Workers follow operator commands."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from django_simpletask3 import control
from django_simpletask3.context import task_context
from django_simpletask3.models import OperatorCommand
from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from django_simpletask3.worker.control_listener import ControlListener
from django_simpletask3.worker.fetcher import Fetcher
from django_simpletask3.worker.leases import Leases
from django_simpletask3.worker.loop import StopRequest
from django_simpletask3.worker.maintenance.snapshot import SharedSnapshot, Snapshot
from django_simpletask3.worker.pipeline import ModelPipeline
from tests.eventually import eventually
from tests.steps import kinds, status_of
from tests.testapp.models import Invoice, Scripted


@pytest.mark.one_server
def test_no_task_of_a_paused_queue_starts_until_it_is_resumed(start_server) -> None:
    control.pause(Invoice)
    waiting, other = Invoice.objects.create(), Scripted.objects.create(script={"do": "value"})
    start_server("--processes", "2")
    eventually(lambda: status_of(other) == Status.SUCCESS)
    assert kinds(waiting) == ["enqueue"]

    control.resume(Invoice)

    eventually(lambda: status_of(waiting) == Status.SUCCESS)
    assert kinds(waiting) == ["enqueue", "start", "ack"]


@pytest.mark.one_server
def test_a_running_worker_follows_a_pause(start_server) -> None:
    first = Invoice.objects.create()
    start_server()
    eventually(lambda: status_of(first) == Status.SUCCESS)
    control.pause(Invoice)
    # Tasks run until the worker follows the command; then one does not.
    eventually(lambda: not _runs_soon(Invoice.objects.create()), timeout=60)
    waiting = Invoice.objects.filter(status=Status.PENDING).first()
    assert waiting is not None

    control.resume(Invoice)

    eventually(lambda: status_of(waiting) == Status.SUCCESS)


def _runs_soon(task: Invoice) -> bool:
    try:
        eventually(lambda: status_of(task) == Status.SUCCESS, timeout=2)
    except AssertionError:
        return False
    return True


@pytest.mark.one_server
def test_a_burst_does_not_wait_for_a_paused_queue(drain) -> None:
    control.pause(Invoice)
    waiting, other = Invoice.objects.create(), Scripted.objects.create(script={"do": "value"})

    drain()

    assert kinds(waiting) == ["enqueue"]
    assert status_of(other) == Status.SUCCESS


@pytest.mark.one_server
def test_a_node_with_a_stop_command_exits_successfully(start_server) -> None:
    task = Scripted.objects.create(script={"do": "value"})
    server = start_server("--processes", "2")
    eventually(lambda: status_of(task) == Status.SUCCESS)
    worker = task.events.get(kind="start").worker

    assert control.stop(worker, "to be upgraded")

    assert server.wait(timeout=60) == 0
    assert not OperatorCommand.objects.exists()


@pytest.mark.django_db
def test_a_command_records_actor_and_reason() -> None:
    with task_context(actor="mia"):
        first = control.pause(Invoice, "the bank is closed")
        again = control.pause(Invoice, "once more")

    (command,) = control.current_commands()
    assert (first, again) == (True, False)
    assert (command.action, command.target, command.actor) == ("pause", "testapp.Invoice", "mia")
    assert command.reason == "the bank is closed"
    assert (control.resume(Invoice), control.resume(Invoice)) == (True, False)


def test_a_message_claimed_while_a_pause_begins_is_returned(
    transactional_db: None, redis_url: str
) -> None:
    task = Invoice.objects.create()
    answers = iter([False, True, True])
    pipeline = ModelPipeline(Invoice, 1, "node-1")
    fetcher = Fetcher(
        pipeline, Leases("node-1"), StopRequest(), burst=True, is_paused=lambda: next(answers)
    )

    fetcher.step()
    claimed = get_queue().running(Invoice.get_event_channel())
    fetcher.step()

    assert (kinds(task), claimed) == (["enqueue"], 1)
    assert get_queue().waiting(Invoice.get_event_channel()) == 1
    assert get_queue().running(Invoice.get_event_channel()) == 0


@pytest.fixture
def snapshot() -> SharedSnapshot:
    return SharedSnapshot()


@pytest.fixture
def listener(snapshot: SharedSnapshot) -> ControlListener:
    return ControlListener("node:1:token", snapshot, stop=lambda: None)


Publish = Callable[..., None]


@pytest.fixture
def publish(snapshot: SharedSnapshot) -> Publish:
    """Publish the snapshot of some process of the node."""

    def publish(*, has_commands: bool, age: float = 0.0) -> None:
        snapshot.publish(Snapshot(time.monotonic() - age, has_commands=has_commands))

    return publish


@pytest.mark.django_db
def test_without_commands_the_listener_sends_no_query(
    listener: ControlListener, publish: Publish, django_assert_num_queries: Any
) -> None:
    publish(has_commands=False)

    with django_assert_num_queries(0):
        listener.step()

    assert not listener.is_paused("testapp.Invoice")


@pytest.mark.django_db
def test_a_command_is_followed_after_the_next_snapshot(
    listener: ControlListener, publish: Publish
) -> None:
    listener.check()
    control.pause(Invoice)

    listener.step()
    before = listener.is_paused("testapp.Invoice")
    publish(has_commands=True)
    listener.step()

    assert (before, listener.is_paused("testapp.Invoice")) == (False, True)


@pytest.mark.django_db
def test_an_old_snapshot_is_not_trusted(listener: ControlListener, publish: Publish) -> None:
    publish(has_commands=False, age=10.0)
    control.pause(Invoice)

    listener.step()

    assert listener.is_paused("testapp.Invoice")


@pytest.mark.django_db
def test_an_earlier_snapshot_of_another_process_revokes_no_command(
    listener: ControlListener,
    publish: Publish,
) -> None:
    publish(has_commands=False, age=1.0)
    control.pause(Invoice)
    listener.check()

    listener.step()

    assert listener.is_paused("testapp.Invoice")


@pytest.mark.django_db
def test_a_snapshot_taken_during_the_query_revokes_no_command(
    listener: ControlListener, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    current_commands = control.current_commands

    def slowly() -> Any:
        publish(has_commands=False)  # another process, before the pause
        control.pause(Invoice)
        return current_commands()

    monkeypatch.setattr(control, "current_commands", slowly)
    listener.check()
    listener.step()

    assert listener.is_paused(Invoice._meta.label)


@pytest.mark.django_db
def test_known_commands_are_not_queried_again(
    listener: ControlListener, publish: Publish, django_assert_num_queries: Any
) -> None:
    control.stop("another:1:token")
    publish(has_commands=True)
    listener.step()

    with django_assert_num_queries(0):
        publish(has_commands=True)
        listener.step()


@pytest.mark.django_db
def test_a_pause_ends_when_no_command_is_left(listener: ControlListener, publish: Publish) -> None:
    control.pause(Invoice)
    listener.check()
    publish(has_commands=False)

    listener.step()

    assert not listener.is_paused("testapp.Invoice")
