"""What operators ask of workers is obeyed by real ones."""

import time
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
from tests.testapp.models import Invoice, Scripted
from tests.worker.steps import kinds, status_of


def test_a_paused_queue_is_left_alone_until_it_is_resumed(start_server) -> None:
    control.pause(Invoice)
    waiting, other = Invoice.objects.create(), Scripted.objects.create(script={"do": "value"})
    start_server("--processes", "2")
    eventually(lambda: status_of(other) == Status.SUCCESS)
    assert kinds(waiting) == ["enqueue"]

    control.resume(Invoice)

    eventually(lambda: status_of(waiting) == Status.SUCCESS)
    assert kinds(waiting) == ["enqueue", "start", "ack"]


def test_a_worker_that_runs_already_hears_of_a_pause(start_server) -> None:
    first = Invoice.objects.create()
    start_server()
    eventually(lambda: status_of(first) == Status.SUCCESS)
    control.pause(Invoice)
    # Until it is heard, tasks are run: then one is not.
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


def test_a_burst_does_not_wait_for_a_paused_queue(drain) -> None:
    control.pause(Invoice)
    waiting, other = Invoice.objects.create(), Scripted.objects.create(script={"do": "value"})

    drain()

    assert kinds(waiting) == ["enqueue"]
    assert status_of(other) == Status.SUCCESS


def test_a_node_that_is_asked_to_stop_ends_well(start_server) -> None:
    task = Scripted.objects.create(script={"do": "value"})
    server = start_server("--processes", "2")
    eventually(lambda: status_of(task) == Status.SUCCESS)
    worker = task.events.get(kind="start").worker

    assert control.stop(worker, "to be upgraded")

    assert server.wait(timeout=60) == 0
    assert not OperatorCommand.objects.exists()


@pytest.mark.django_db
def test_an_instruction_tells_who_and_why() -> None:
    with task_context(actor="mia"):
        first = control.pause(Invoice, "the bank is closed")
        again = control.pause(Invoice, "once more")

    (said,) = control.current_commands()
    assert (first, again) == (True, False)
    assert (said.action, said.target, said.actor) == ("pause", "testapp.Invoice", "mia")
    assert said.reason == "the bank is closed"
    assert (control.resume(Invoice), control.resume(Invoice)) == (True, False)


def test_what_was_claimed_while_a_pause_began_goes_back(
    transactional_db: None, redis_url: str
) -> None:
    task = Invoice.objects.create()
    answers = iter([False, True, True])
    lane = ModelPipeline(Invoice, 1, "node-1")
    fetcher = Fetcher(
        lane, Leases("node-1"), StopRequest(), burst=True, is_paused=lambda: next(answers)
    )

    fetcher.step()
    held = get_queue().running(Invoice.get_event_channel())
    fetcher.step()

    assert (kinds(task), held) == (["enqueue"], 1)
    assert get_queue().waiting(Invoice.get_event_channel()) == 1
    assert get_queue().running(Invoice.get_event_channel()) == 0


@pytest.fixture
def obedience() -> ControlListener:
    return ControlListener("node:1:token", SharedSnapshot(), stop=lambda: None)


def see(obedience: ControlListener, *, asked: bool, age: float = 0.0) -> None:
    """Some process of the node looks."""
    obedience._outlook.publish(Snapshot(time.monotonic() - age, has_commands=asked))


@pytest.mark.django_db
def test_while_nothing_is_asked_nobody_asks_the_database(
    obedience: ControlListener, django_assert_num_queries: Any
) -> None:
    see(obedience, asked=False)

    with django_assert_num_queries(0):
        obedience.step()

    assert not obedience.is_paused("testapp.Invoice")


@pytest.mark.django_db
def test_what_is_asked_is_heard_as_soon_as_somebody_has_looked(obedience: ControlListener) -> None:
    obedience.check()
    control.pause(Invoice)

    obedience.step()
    before = obedience.is_paused("testapp.Invoice")
    see(obedience, asked=True)
    obedience.step()

    assert (before, obedience.is_paused("testapp.Invoice")) == (False, True)


@pytest.mark.django_db
def test_a_look_of_long_ago_proves_nothing(obedience: ControlListener) -> None:
    see(obedience, asked=False, age=10.0)
    control.pause(Invoice)

    obedience.step()

    assert obedience.is_paused("testapp.Invoice")


@pytest.mark.django_db
def test_an_earlier_look_of_another_process_takes_nothing_back(obedience: ControlListener) -> None:
    see(obedience, asked=False, age=1.0)
    control.pause(Invoice)
    obedience.check()

    obedience.step()

    assert obedience.is_paused("testapp.Invoice")


@pytest.mark.django_db
def test_a_look_that_began_before_ours_was_answered_takes_nothing_back(
    obedience: ControlListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing = control.current_commands

    def slowly() -> Any:
        see(obedience, asked=False)  # another process, before the pause
        control.pause(Invoice)
        return standing()

    monkeypatch.setattr(control, "current_commands", slowly)
    obedience.check()
    obedience.step()

    assert obedience.is_paused(Invoice._meta.label)


@pytest.mark.django_db
def test_what_stands_is_not_asked_for_at_every_look(
    obedience: ControlListener, django_assert_num_queries: Any
) -> None:
    control.stop("another:1:token")
    see(obedience, asked=True)
    obedience.step()

    with django_assert_num_queries(0):
        see(obedience, asked=True)
        obedience.step()


@pytest.mark.django_db
def test_a_pause_ends_when_nothing_is_asked_any_more(obedience: ControlListener) -> None:
    control.pause(Invoice)
    obedience.check()
    see(obedience, asked=False)

    obedience.step()

    assert not obedience.is_paused("testapp.Invoice")
