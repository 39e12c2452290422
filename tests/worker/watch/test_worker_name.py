"""The names of workers."""

import os
import subprocess

import pytest

from django_simpletask3.worker.watch.worker_name import is_known_dead, worker_name


def test_a_living_process_is_not_known_to_be_dead() -> None:
    assert not is_known_dead(worker_name(os.getpid(), "token"))


def test_a_process_that_has_ended_is_known_to_be_dead_even_before_it_is_reaped() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        name = worker_name(process.pid, "token")
        before = is_known_dead(name)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        unreaped = is_known_dead(name)

    assert (before, unreaped, is_known_dead(name)) == (False, True, True)


def test_another_process_of_the_same_number_is_not_the_one_that_died() -> None:
    node, pid, mark = worker_name(os.getpid(), "token").rsplit(":", 2)
    space = mark.partition("-")[0]

    assert is_known_dead(f"{node}:{pid}:{space}-1")


@pytest.mark.parametrize("name", ["", "plain", "elsewhere:1:abcd-1", "elsewhere:1:token"])
def test_a_process_of_another_machine_is_not_known_to_be_dead(name: str) -> None:
    assert not is_known_dead(name)
