"""What operators ask of workers is obeyed by real ones."""

import pytest

from django_simpletask3 import instructions
from django_simpletask3.context import task_context
from django_simpletask3.models import Instruction
from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from django_simpletask3.worker.fetcher import Fetcher
from django_simpletask3.worker.lane import Lane
from django_simpletask3.worker.leases import Leases
from django_simpletask3.worker.stopping import Stopping
from tests.eventually import eventually
from tests.process.lives import kinds, status_of
from tests.zoo.models import Invoice, Scripted


def test_a_paused_queue_is_left_alone_until_it_is_resumed(start_server) -> None:
    instructions.pause(Invoice)
    waiting, other = Invoice.objects.create(), Scripted.objects.create(script={"do": "value"})
    start_server("--processes", "2")
    eventually(lambda: status_of(other) == Status.SUCCESS)
    assert kinds(waiting) == ["enqueue"]

    instructions.resume(Invoice)

    eventually(lambda: status_of(waiting) == Status.SUCCESS)
    assert kinds(waiting) == ["enqueue", "start", "ack"]


def test_a_worker_that_runs_already_hears_of_a_pause(start_server) -> None:
    first = Invoice.objects.create()
    start_server()
    eventually(lambda: status_of(first) == Status.SUCCESS)
    instructions.pause(Invoice)
    # Until it is heard, tasks are run: then one is not.
    eventually(lambda: not _runs_soon(Invoice.objects.create()), timeout=60)
    waiting = Invoice.objects.filter(status=Status.PENDING).first()
    assert waiting is not None

    instructions.resume(Invoice)

    eventually(lambda: status_of(waiting) == Status.SUCCESS)


def _runs_soon(task: Invoice) -> bool:
    try:
        eventually(lambda: status_of(task) == Status.SUCCESS, timeout=2)
    except AssertionError:
        return False
    return True


def test_a_burst_does_not_wait_for_a_paused_queue(drain) -> None:
    instructions.pause(Invoice)
    waiting, other = Invoice.objects.create(), Scripted.objects.create(script={"do": "value"})

    drain()

    assert kinds(waiting) == ["enqueue"]
    assert status_of(other) == Status.SUCCESS


def test_a_node_that_is_asked_to_stop_ends_well(start_server) -> None:
    task = Scripted.objects.create(script={"do": "value"})
    server = start_server("--processes", "2")
    eventually(lambda: status_of(task) == Status.SUCCESS)
    worker = task.events.get(kind="start").worker

    assert instructions.stop(worker, "to be upgraded")

    assert server.wait(timeout=60) == 0
    assert not Instruction.objects.exists()


@pytest.mark.django_db
def test_an_instruction_tells_who_and_why() -> None:
    with task_context(actor="mia"):
        first = instructions.pause(Invoice, "the bank is closed")
        again = instructions.pause(Invoice, "once more")

    (said,) = instructions.standing()
    assert (first, again) == (True, False)
    assert (said.what, said.target, said.actor) == ("pause", "zoo.Invoice", "mia")
    assert said.reason == "the bank is closed"
    assert (instructions.resume(Invoice), instructions.resume(Invoice)) == (True, False)


def test_what_was_claimed_while_a_pause_began_goes_back(
    transactional_db: None, redis_url: str
) -> None:
    task = Invoice.objects.create()
    answers = iter([False, True, True])
    lane = Lane(Invoice, 1, "node-1")
    fetcher = Fetcher(
        lane, Leases("node-1"), Stopping(), burst=True, is_paused=lambda: next(answers)
    )

    fetcher.step()
    held = get_queue().running(Invoice.get_event_channel())
    fetcher.step()

    assert (kinds(task), held) == (["enqueue"], 1)
    assert get_queue().waiting(Invoice.get_event_channel()) == 1
    assert get_queue().running(Invoice.get_event_channel()) == 0
