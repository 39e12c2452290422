"""How often a process looks whether a task function has exceeded its time limit."""

import pytest

from django_simpletask3.contrib.tasks.models import FunctionTask
from django_simpletask3.models import SimpleTask
from django_simpletask3.worker.leases import Leases
from django_simpletask3.worker.time_limits import TimeLimits
from tests.testapp.models import Hurried, Invoice


def pause_of(*models: type[SimpleTask]) -> float:
    """The pause while no task runs."""
    return TimeLimits(Leases("worker"), lambda run: None, models).step()


@pytest.mark.parametrize(
    "limited",
    [pytest.param(Hurried, id="of the model"), pytest.param(FunctionTask, id="of the row")],
)
def test_an_idle_process_looks_more_often_if_a_task_may_have_a_limit(
    limited: type[SimpleTask],
) -> None:
    assert pause_of(Invoice, limited) < pause_of(Invoice)
