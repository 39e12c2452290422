"""Limited tasks in nodes whose processes are killed."""

from collections import Counter
from pathlib import Path
from typing import Any

from django_simpletask3.limits.tables import LimitPlace, LimitWaiter
from django_simpletask3.states import Status
from tests.eventually import eventually
from tests.steps import create_task, status_of
from tests.testapp.models import Errand
from tests.worker.conftest import Start


def most_at_once(log: Path) -> int:
    """How many task functions ran at once, by what they wrote themselves.

    A function whose process was killed has written no end; it is left out.
    """
    lines = [tuple(line.split()) for line in log.read_text().splitlines()]
    ended = Counter(name.removeprefix("end-") for name, _ in lines if name.startswith("end-"))
    running, most, begun = 0, 0, Counter[str]()
    total = Counter(name.removeprefix("begin-") for name, _ in lines if name.startswith("begin-"))
    for name, _ in lines:
        kind, _, task = name.partition("-")
        begun[task] += kind == "begin"
        is_last = begun[task] == total[task] and ended[task]
        running += (kind == "begin" and bool(is_last)) - (kind == "end")
        most = max(most, running)
    return most


def test_killed_holders_cost_no_place_and_never_more_run_than_the_limit_says(
    start_server: Start, tmp_path: Path
) -> None:
    tasks = [
        create_task(Errand, customer=customer, script=script(tmp_path / customer, f"{number}"))
        for number in range(10)
        for customer in ("a", "b")
    ]

    for _ in range(2):
        start_server("--models", "testapp.Errand", "--processes", "2")

    eventually(lambda: {status_of(task) for task in tasks} == {Status.SUCCESS}, 60)
    for customer in ("a", "b"):
        assert most_at_once(tmp_path / customer) <= 2
    assert eventually(lambda: not LimitPlace.objects.exists() and not LimitWaiter.objects.exists())


def script(log: Path, number: str) -> list[dict[str, Any]]:
    kill = [{"do": "kill", "attempt": 1}] if number in {"0", "5"} else []
    pause = {"do": "work", "seconds": 0.05}
    begin, end = (
        {"do": "append", "path": str(log), "text": f"{word}-{number}"} for word in ("begin", "end")
    )
    return [begin, *kill, pause, end]
