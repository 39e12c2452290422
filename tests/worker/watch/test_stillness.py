"""A process stands still if its threads wait for its interpreter, and for no other reason."""

from dataclasses import replace
from typing import Any

import pytest

from django_simpletask3.worker.watch import activity, stillness
from django_simpletask3.worker.watch.activity import Activity, Mark
from django_simpletask3.worker.watch.stillness import Stillness
from django_simpletask3.worker.watch.threads import ThreadSample

BEATS, HOLDER, WAITING, BLOCKED = range(1, 5)
IDLE = ThreadSample("S", used=0.0, delayed=0.0, waits=0)


class Child:
    """A process of four threads, of which three work on tasks."""

    def __init__(self) -> None:
        self.activity = Activity(3)
        self.threads = dict.fromkeys((BEATS, HOLDER, WAITING, BLOCKED), IDLE)
        self.stillness = Stillness(1, self.activity)

    def beat(self) -> None:
        activity._HEADER.pack_into(self.activity._memory, 0, self.activity.beats + 1, BEATS)

    def pass_by(self, seconds: int, **deltas: Any) -> None:
        """Let the threads that wait for the interpreter look for it, and the holder compute."""
        for _ in range(seconds):
            self.change(BEATS, waits=200, **deltas)
            self.change(WAITING, waits=200)
            self.change(HOLDER, used=0.9)
            self.stillness.observe(1.0)

    def change(self, thread: int, **deltas: Any) -> None:
        before = self.threads[thread]
        values = {name: getattr(before, name) + delta for name, delta in deltas.items()}
        self.threads[thread] = replace(before, **values)


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Child:
    child = Child()
    marks = [Mark(n, n, 0.0, None, str(n)) for n in (HOLDER, WAITING, BLOCKED)]
    monkeypatch.setattr(stillness, "sample_threads", lambda pid: dict(child.threads))
    monkeypatch.setattr(child.activity, "marks", lambda: marks)
    child.beat()
    child.stillness.observe(0.5)
    return child


def test_the_task_that_computes_is_the_suspect(child: Child) -> None:
    child.pass_by(5)

    assert child.stillness.seconds == 4.0  # the first look has nothing to compare with
    assert [mark.native_thread for mark in child.stillness.suspects()] == [HOLDER]


def test_if_none_computes_those_that_wait_for_the_interpreter_are_no_suspects(child: Child) -> None:
    child.pass_by(5)
    child.threads[HOLDER] = IDLE

    child.stillness.observe(1.0)

    assert {m.native_thread for m in child.stillness.suspects()} == {HOLDER, BLOCKED}


def test_a_beat_ends_the_stillness(child: Child) -> None:
    child.pass_by(5)

    child.beat()
    child.stillness.observe(1.0)

    assert (child.stillness.seconds, child.stillness.silence) == (0.0, 0.0)


def test_a_stopped_process_is_silent_and_does_not_stand_still(child: Child) -> None:
    child.threads[HOLDER] = replace(IDLE, state="T")

    child.pass_by(5)

    assert (child.stillness.seconds, child.stillness.silence) == (0.0, 5.0)


def test_time_without_a_processor_does_not_count(child: Child) -> None:
    child.pass_by(5, delayed=0.9)

    assert child.stillness.seconds == pytest.approx(4.0 - 4 * 0.9)


def test_threads_that_do_not_wait_for_the_interpreter_do_not_stand_still(child: Child) -> None:
    for _ in range(5):
        child.stillness.observe(1.0)

    assert child.stillness.seconds == 0.0
