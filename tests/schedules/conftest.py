"""A clock that stands still until the test moves it."""

from collections.abc import Callable

import pytest

from django_simpletask3.testing import TaskClock
from tests.schedules.steps import BEGIN


@pytest.fixture
def hand_clock(task_clock: Callable[..., TaskClock]) -> TaskClock:
    return task_clock(BEGIN)
