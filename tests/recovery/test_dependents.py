"""Ends that a node did not count, because no task could wait for them in its code, are counted."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, connections, transaction

from django_simpletask3.dependencies.tables import LinkState, has_prerequisite_models
from django_simpletask3.recovery.dependents import count_missed_ends, serve_all
from django_simpletask3.states import Status
from tests.dependencies.steps import (
    FAILURES,
    dependent_on,
    fail,
    group_of,
    link_states,
    status,
    step,
    succeed,
)
from tests.dependencies.test_serving import in_thread
from tests.testapp.models import Step

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def old_code() -> Iterator[None]:
    """Within the block, the code says that no task can wait for a Step."""
    with pytest.MonkeyPatch.context() as old:
        old.setattr(Step, "django_simpletask3_can_be_awaited", False)
        has_prerequisite_models.cache_clear()
        yield
    has_prerequisite_models.cache_clear()


@pytest.mark.parametrize("how", [*FAILURES, "succeed"])
def test_an_end_that_another_version_has_recorded_is_counted(how: str, redis_url: str) -> None:
    first, second = step(), step()
    task, other = dependent_on(first, second), dependent_on(first, second, on_failure="run")
    with old_code():
        {**FAILURES, "succeed": succeed}[how](first)
        assert count_missed_ends() == 0
    succeed(second)
    before = status(task), status(other)

    counts = count_missed_ends(), count_missed_ends()
    serve_all()

    assert before == (Status.BLOCKED, Status.BLOCKED)
    assert counts == (2, 0)
    assert status(task) is (Status.PENDING if how == "succeed" else Status.CANCELED)
    assert status(other) is Status.PENDING


def test_a_success_after_a_failure_is_counted(redis_url: str) -> None:
    first = step()
    task = dependent_on(first, on_failure="wait")
    fail(first)
    with old_code():
        first.reset()
        succeed(first)

    count_missed_ends()
    serve_all()

    assert status(task) is Status.PENDING
    assert group_of(task).failed == 0


def test_what_has_not_ended_or_was_counted_is_left_alone(redis_url: str) -> None:
    open_, ended = step(), step()
    dependent_on(open_, ended, on_failure="wait")
    fail(ended)

    assert count_missed_ends() == 0
    assert link_states(open_, ended) == [LinkState.OPEN, LinkState.FAILED]


def test_a_task_that_another_transaction_has_locked_is_not_waited_for(redis_url: str) -> None:
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("one writer")
    first = step()
    dependent_on(first)
    with old_code():
        fail(first)
    counts: list[int] = []

    def count() -> None:
        try:
            counts.append(count_missed_ends())
        finally:
            connections.close_all()

    with transaction.atomic():
        first.reset()  # of which others see nothing yet
        in_thread(count)

    assert counts == [0]
    assert count_missed_ends() == 0
    assert link_states(first) == [LinkState.OPEN]
