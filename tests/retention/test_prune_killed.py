"""A pruning process that is killed has pruned exactly what its tombstones say."""

import signal
import subprocess
import sys

import pytest

from django_simpletask3.audit.check import audit
from django_simpletask3.models import Tombstone
from django_simpletask3.states import EventKind
from django_simpletask3.transitions.transition import Transition
from django_simpletask3.transitions.writer import apply_all
from tests.eventually import eventually
from tests.project.sources import ROOT
from tests.testapp.models import Fleeting
from tests.worker.conftest import Start, start_server  # noqa: F401 - a fixture

TASKS = 300


def pruner() -> "subprocess.Popen[bytes]":
    command = [
        sys.executable,
        "-m",
        "django",
        "django-simpletask3-prune",
        "--model=testapp.Fleeting",
    ]
    more = ["--settings=tests.settings", "--batch-size=3", "--pause=0.01"]
    return subprocess.Popen([*command, *more], cwd=ROOT, stdout=subprocess.DEVNULL)


def pruned() -> int:
    return sum(Tombstone.objects.values_list("tasks", flat=True))


@pytest.mark.django_db(transaction=True)
def test_killing_the_pruner_halves_nothing() -> None:
    tasks = Fleeting.objects.bulk_enqueue([{} for _ in range(TASKS)])
    for kind in (EventKind.START, EventKind.ACK):
        apply_all([Transition(task, kind, worker="w1") for task in tasks])

    for _ in range(3):
        before, victim = pruned(), pruner()
        eventually(lambda before=before: pruned() > before + 5)
        victim.send_signal(signal.SIGKILL)
        victim.wait()

        assert pruned() + Fleeting.objects.count() == TASKS
        assert not Tombstone.objects.filter(is_open=True).exists()
        assert list(audit(Fleeting, "default")) == []

    two = [pruner(), pruner()]
    assert [one.wait(timeout=60) for one in two] == [0, 0]
    assert (pruned(), Fleeting.objects.count()) == (TASKS, 0)
    assert not Fleeting.event_model.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.thorough
def test_a_server_prunes_and_its_tombstones_name_it(start_server: Start) -> None:  # noqa: F811
    task = Fleeting.objects.create()
    for kind in (EventKind.START, EventKind.ACK):
        apply_all([Transition(task, kind, worker="w1")])

    start_server()
    eventually(lambda: pruned() == 1)

    assert Tombstone.objects.get().actor.startswith("retention ")
    assert not Fleeting.objects.exists()
