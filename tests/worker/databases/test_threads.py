"""One thread for each database: a slow one is waited for once."""

import threading
from collections.abc import Callable

import pytest

from django_simpletask3.models.each_database import in_each_database
from django_simpletask3.worker.databases.threads import Apart, DatabaseThreads
from tests.eventually import eventually

PATIENCE = 0.1


def test_what_comes_late_comes_with_a_later_answer() -> None:
    threads: DatabaseThreads[int] = DatabaseThreads("test")
    go = threading.Event()
    works: dict[str, Callable[[], int]] = {"slow": lambda: int(go.wait(30)), "quick": lambda: 2}

    first = threads.call(works, PATIENCE)
    second = threads.call(works, PATIENCE)
    was_busy = threads.is_busy("slow")
    go.set()
    late = eventually(lambda: threads.call({}, 0.0))

    assert [(a.using, a.value) for a in (*first, *second)] == [("quick", 2), ("quick", 2)]
    assert was_busy
    assert [(a.using, a.call, a.value) for a in late] == [("slow", 1, 1)]
    assert not threads.is_busy("slow")


def test_work_apart_is_left_out_where_it_is_late_and_raises_its_errors() -> None:
    go, apart = threading.Event(), Apart("test", PATIENCE)

    def work(using: str) -> str:
        if using == "slow":
            go.wait(30)
        if using == "broken":
            raise ValueError(using)
        return using

    assert apart.run(lambda: in_each_database(work, ["slow", "quick"])) == {"quick": "quick"}
    with pytest.raises(ValueError, match="broken"):
        apart.run(lambda: in_each_database(work, ["quick", "broken"]))
    go.set()
    assert in_each_database(work, ["slow", "quick"]) == {"slow": "slow", "quick": "quick"}


def test_a_database_that_says_nothing_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_simpletask3.worker.databases.threads._LOG_AFTER_SECONDS", 0.0)
    go, threads = threading.Event(), DatabaseThreads[bool]("test")

    for _ in range(3):
        threads.call({"slow": lambda: go.wait(30)}, 0.0)
    go.set()

    assert caplog.text.count("database_unreachable database=slow") == 1
