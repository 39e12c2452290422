"""The helpers in the test cases of Django and of unittest."""

import unittest
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from django.test import TestCase, TransactionTestCase

from django_simpletask3.conf import time_source
from django_simpletask3.testing import (
    TaskAssertions,
    arun_tasks,
    capture_enqueued,
    eager_tasks,
    run_tasks,
    task_clock,
)
from tests.testapp.models import Invoice

NOON = datetime(2028, 2, 29, 12, tzinfo=UTC)


class InTransaction(TaskAssertions, TestCase):
    """Tasks that were created and run for all tests of a class."""

    finished: ClassVar[Invoice]
    waiting: ClassVar[Invoice]

    @classmethod
    def setUpTestData(cls) -> None:
        cls.finished = Invoice.objects.create()
        run_tasks()
        cls.waiting = Invoice.objects.create(amount=7)

    def test_tasks_of_the_class_are_there(self) -> None:
        self.assertTaskEvents(self.finished, "enqueue", "start", "ack")
        self.assertEnqueued(Invoice, count=1, amount=7)

    def test_a_task_of_the_class_runs_for_one_test_only(self) -> None:
        assert run_tasks(self.waiting).succeeded == [self.waiting]
        assert self.waiting.result_data == "OK"
        self.assertNoTasksLeft()

    def test_it_runs_for_the_next_test_too(self) -> None:
        self.test_a_task_of_the_class_runs_for_one_test_only()

    @eager_tasks()
    def test_a_method_can_be_decorated(self) -> None:
        with capture_enqueued() as tasks:
            Invoice.objects.create()
        self.assertTaskEvents(tasks[0], "enqueue", "start", "ack")

    def test_the_hooks_of_a_test_can_still_be_captured(self) -> None:
        with self.captureOnCommitCallbacks() as callbacks:
            Invoice.objects.create()
            run_tasks()
        assert len(callbacks) == 1

    async def test_in_a_coroutine(self) -> None:
        task = await Invoice.objects.aenqueue()
        assert (await arun_tasks(task)).succeeded == [task]

    @eager_tasks()
    async def test_a_coroutine_can_be_decorated(self) -> None:
        task = await Invoice.objects.aenqueue()
        await task.arefresh_from_db()
        assert task.status == Invoice.SUCCESS


class Timed(TestCase):
    """At times of their own, with a task that was made before the blocks."""

    later: ClassVar[Invoice]

    @classmethod
    def setUpTestData(cls) -> None:
        cls.later = Invoice.objects.create(run_after=NOON + timedelta(hours=1))

    def test_a_later_task_of_the_class_runs_when_its_time_has_come(self) -> None:
        clock = self.enterContext(task_clock(NOON))
        assert run_tasks(self.later).left == [self.later]
        clock.shift(timedelta(hours=1))
        assert run_tasks(self.later).succeeded == [self.later]
        assert self.later.done_time == NOON + timedelta(hours=1)

    @task_clock(NOON)
    def test_a_test_at_a_time(self) -> None:
        assert Invoice.objects.create().add_time == NOON

    @task_clock(NOON)
    async def test_a_coroutine_at_a_time(self) -> None:
        task = await Invoice.objects.aenqueue()
        assert (await arun_tasks(task)).succeeded == [task]
        assert task.done_time == NOON


class Committed(TaskAssertions, TransactionTestCase):
    """Without a transaction around the test."""

    def setUp(self) -> None:
        self.enterContext(eager_tasks())

    def test_it_is_entered_in_set_up(self) -> None:
        task = Invoice.objects.create()
        self.assertTaskEvents(task, "enqueue", "start", "ack")
        self.assertNoTasksLeft()


for _case in (InTransaction, Timed, Committed):
    _case.__test__ = False  # pytest runs them here, as manage.py test would


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("case", [InTransaction, Timed, Committed])
def test_a_test_case_succeeds(case: Any) -> None:
    result = unittest.TestResult()

    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)

    assert time_source.time_of_test() is None
    problems = [text for _, text in (*result.errors, *result.failures)]
    assert "\n".join(problems) == ""
    assert result.testsRun == len(unittest.defaultTestLoader.getTestCaseNames(case))
