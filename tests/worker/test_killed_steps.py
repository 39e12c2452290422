"""Steps of ``once()`` in processes that are killed before, inside of and after them."""

from collections import Counter
from pathlib import Path

import pytest
from django.db import connection

from django_simpletask3.ledger.projection import broken_links
from django_simpletask3.states import EventKind, Status
from tests.eventually import eventually
from tests.steps import kinds, status_of, stream_of
from tests.testapp.models import Customer, Scripted
from tests.worker.conftest import Start

pytestmark = pytest.mark.thorough

#: Where the process is killed, and how often a plain step is called in the end. Only PostgreSQL
#: records it by a statement that is a transaction by itself.
POINTS = {
    "before": 1,
    "inside": 2,
    "not recorded": 2,
    "not committed": 1 if connection.vendor == "postgresql" else 2,
    "recorded": 1,
}


def test_an_atomic_step_has_one_effect_and_a_plain_one_is_repeated_if_it_is_not_recorded(
    start_server: Start, tmp_path: Path
) -> None:
    expected = {f"atomic {point}": 1 for point in POINTS}
    expected |= {f"plain {point}": calls for point, calls in POINTS.items()}
    # One thread for each process: no other task is killed with this one.
    start_server("--models", "testapp.Scripted", "--processes", "5")

    tasks = {name: Scripted.objects.create(script=script(name, tmp_path)) for name in expected}

    eventually(lambda: {status_of(task) for task in tasks.values()} == {Status.SUCCESS}, 60)
    assert all((tmp_path / name).exists() for name in tasks)
    assert Counter(Customer.objects.values_list("name", flat=True)) == expected
    for name, task in tasks.items():
        assert kinds(task).count(EventKind.CHECKPOINT) == 1, name
        assert kinds(task).count(EventKind.ACK) == 1, name
        assert broken_links(stream_of(task)) == []


def script(name: str, folder: Path) -> dict[str, object]:
    form, _, point = name.partition(" ")
    path = str(folder / name)
    return {"do": "once", "name": name, "kill_at": point, "path": path, "atomic": form == "atomic"}
