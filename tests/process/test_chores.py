"""Chores: done at their pace by whoever lives, and judged with care after an outage."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_simpletask3 import clock
from django_simpletask3.worker.chores import Chore, Chores, timetable
from django_simpletask3.worker.sight import Sight
from django_simpletask3.worker.timetable import Timetable
from tests.eventually import eventually

LONG = 3600.0


class Diary(list[str]):
    def writing(self, word: str, moved: int = 0) -> Callable[[], int]:
        def work() -> int:
            self.append(word)
            return moved

        return work


def test_of_two_processes_one_does_what_is_due() -> None:
    shared, done = Timetable(["sweep"]), Diary()
    here = Chores({"sweep": Chore(done.writing("here"), LONG)}, shared)
    there = Chores({"sweep": Chore(done.writing("there"), LONG)}, shared)

    rests = [process.step() for process in (here, there, here)]

    assert done == ["here"]
    assert all(0 < rest <= 120 for rest in rests)  # never slower than the interval


def test_a_process_that_stands_still_in_a_pass_is_stepped_over() -> None:
    shared, done, stuck = Timetable(["sweep"]), Diary(), threading.Event()
    frozen = Chores({"sweep": Chore(lambda: int(stuck.wait(60)), 0.1)}, shared)
    other = Chores({"sweep": Chore(done.writing("other"), 0.1)}, shared)
    thread = threading.Thread(target=frozen.step, daemon=True)
    thread.start()

    eventually(lambda: other.step() >= 0 and bool(done))

    stuck.set()
    thread.join(timeout=10)
    assert done[0] == "other"


def test_a_chore_that_fails_is_told_rests_and_stops_no_other() -> None:
    shared, done = Timetable(["broken", "sound"]), Diary()

    def broken() -> int:
        raise RuntimeError("no")

    chores = Chores(
        {"broken": Chore(broken, 0.01), "sound": Chore(done.writing("sound", moved=7), 0.01)},
        shared,
    )

    eventually(lambda: chores.step() >= 0 and shared.read()["broken"].failures >= 3)

    told = shared.read()
    assert shared.rest("broken", 0.5) > shared.rest("sound", 0.5) + 1
    assert (told["broken"].ended, told["sound"].moved, told["sound"].failures) == (0.0, 7, 0)
    assert 0 < told["sound"].began <= told["sound"].ended
    assert done


def test_every_chore_of_a_node_has_its_place() -> None:
    assert set(timetable().read()) == {
        "expired",
        "deceased",
        "forgotten",
        "silent",
        "messages",
        "strangers",
        "subscribers",
        "retention",
    }


class Clock:
    """A database's clock, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = clock.now("default")
        monkeypatch.setattr(clock, "now", lambda using: self.time)

    def go(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def looks(sight: Sight, hand: Clock, *gaps: float) -> list[bool]:
    found = []
    for gap in gaps:
        hand.go(gap)
        found.append(sight.is_clear("default"))
    return found


def test_who_looks_again_and_again_sees_clearly(hand: Clock) -> None:
    assert looks(Sight(), hand, 0, 1, 1, 4.9) == [True] * 4


def test_after_an_outage_others_have_time_to_renew(hand: Clock) -> None:
    assert looks(Sight(), hand, 0, 60, 2, 2, 1.1) == [True, False, False, False, True]


def test_a_database_that_is_always_slow_is_judged_all_the_same(hand: Clock) -> None:
    assert looks(Sight(), hand, 0, 6, 6, 6) == [True, False, True, False]


def test_a_second_outage_soon_after_the_first_gives_time_again(hand: Clock) -> None:
    assert looks(Sight(), hand, 0, 9, 5, 1, 9, 5) == [True, False, True, True, False, True]


def test_who_began_in_an_outage_gives_time_to_renew_too(
    hand: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sight = Sight()
    monkeypatch.setattr(sight, "_began", sight._began - 60)

    assert looks(sight, hand, 0, 2, 2, 1.1) == [False, False, False, True]


def test_each_database_is_seen_for_itself(hand: Clock) -> None:
    sight = Sight()
    sight.is_clear("default")
    hand.go(60)

    found: dict[str, Any] = {using: sight.is_clear(using) for using in ("default", "other")}

    assert found == {"default": False, "other": True}
