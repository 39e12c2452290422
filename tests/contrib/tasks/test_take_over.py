"""From django-tasks-db to this package: one app, one setting, one command."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from django_simpletask3.contrib.tasks.models import FunctionTask, model_of
from django_simpletask3.states import Status
from django_simpletask3.unique import Unique
from tests.contrib.tasks import steps
from tests.functions import tasks
from tests.functions.framework import TaskResultStatus, exceptions, task_backends

pytestmark = pytest.mark.django_db(transaction=True)

COMMAND = "django-simpletask3-take-over"
BEFORE = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default", "mail"]}}


def output_of(*words: str) -> str:
    output = StringIO()
    call_command(COMMAND, *words, stdout=output)
    return output.getvalue().strip()


@pytest.fixture
def before() -> dict[str, Any]:
    """The results of tasks that were enqueued with django-tasks-db."""
    later = timezone.now() + timedelta(hours=1)
    with override_settings(TASKS=BEFORE):
        return {
            "added": tasks.add.enqueue(1, second=2),
            "sent": tasks.send.using(priority=5).enqueue("ada"),
            "later": tasks.add.using(run_after=later).enqueue(3),
        }


def test_tasks_that_wait_are_taken_over_with_their_ids(before: dict[str, Any]) -> None:
    assert output_of("--dry-run") == "3 tasks would be taken over"
    assert output_of() == "3 tasks taken over"
    assert output_of() == "0 tasks taken over"

    assert not DBTaskResult.objects.exists()
    after = {name: tasks.add.get_backend().get_result(r.id) for name, r in before.items()}
    for name, result in after.items():
        assert result.status == TaskResultStatus.READY
        assert (result.args, result.kwargs) == (before[name].args, before[name].kwargs)
        assert result.enqueued_at == before[name].enqueued_at
    assert after["later"].task.run_after == before["later"].task.run_after
    sent = steps.row_of(after["sent"])
    assert (type(sent), sent.priority) == (model_of("mail"), 5)
    [event] = sent.events.all()
    assert event.reason == "taken over from django-tasks-db"
    assert steps.run(after["added"]).return_value == 3
    assert steps.run_messages(model_of("mail")) == 1


def test_tasks_that_were_running_are_taken_over_if_asked(before: dict[str, Any]) -> None:
    DBTaskResult.objects.filter(pk=before["added"].id).update(status="RUNNING")
    DBTaskResult.objects.filter(pk=before["later"].id).update(status="SUCCESSFUL")

    assert output_of() == "1 task taken over"
    assert output_of("--running") == "1 task taken over"
    assert [str(row.pk) for row in DBTaskResult.objects.all()] == [before["later"].id]


def test_functions_that_are_not_known_are_named_and_left(before: dict[str, Any]) -> None:
    DBTaskResult.objects.filter(pk=before["added"].id).update(task_path="os.system")

    with pytest.raises(CommandError, match=r"os\.system"):
        output_of()

    assert DBTaskResult.objects.count() == 1
    assert FunctionTask.objects.count() == 2
    with pytest.raises(CommandError, match=r"os\.system"):
        output_of()


def test_a_dry_run_counts_known_functions_only(
    before: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    DBTaskResult.objects.filter(pk=before["added"].id).update(task_path="os.system")

    with pytest.raises(CommandError, match=r"os\.system"):
        call_command(COMMAND, "--dry-run")

    assert capsys.readouterr().out.strip() == "2 tasks would be taken over"
    assert DBTaskResult.objects.count() == 3


def test_tasks_of_other_backends_are_left(before: dict[str, Any]) -> None:
    DBTaskResult.objects.filter(pk=before["added"].id).update(backend_name="old")
    DBTaskResult.objects.filter(pk=before["sent"].id).update(backend_name="gone")

    with override_settings(TASKS={**settings.TASKS, "old": BEFORE["default"]}):
        left = "1 task of other backends in TASKS left: old"
        assert output_of("--dry-run").splitlines() == ["2 tasks would be taken over", left]
        assert output_of().splitlines() == ["2 tasks taken over", left]

    assert [str(row.pk) for row in DBTaskResult.objects.all()] == [before["added"].id]


def test_without_our_backend_nothing_is_taken_over(before: dict[str, Any]) -> None:
    with (
        override_settings(TASKS=BEFORE),
        pytest.raises(CommandError, match="TASKS names no SimpleTaskBackend"),
    ):
        output_of()


def test_a_row_that_was_taken_over_and_not_deleted_is_deleted(before: dict[str, Any]) -> None:
    sent = before["sent"]
    FunctionTask.objects.create(result_id=sent.id, task_path=sent.task.module_path)

    assert output_of() == "3 tasks taken over"

    assert not DBTaskResult.objects.exists()
    assert FunctionTask.objects.count() == 3


def test_unique_keys_are_those_of_the_functions() -> None:
    once = {"tests.functions.tasks.echo": {"unique": Unique("{value}", on_conflict="replace")}}
    with override_settings(TASKS=BEFORE):
        ids = [tasks.echo.enqueue(value).id for value in ("a", "a", "b")]
        wrong = tasks.echo.enqueue(unknown=1).id
    entry = settings.TASKS["default"]
    options = {**entry["OPTIONS"], "FUNCTIONS": once}
    with override_settings(TASKS={"default": {**entry, "OPTIONS": options}}):
        assert output_of() == "4 tasks taken over"

    rows = {str(row.result_id): row for row in FunctionTask.objects.all()}
    texts = [rows[result_id].unique_text for result_id in (*ids, wrong)]
    assert [text and text[-1] for text in texts] == ["a", None, "b", None]
    assert {row.status for row in rows.values()} == {Status.PENDING}
    assert rows[ids[0]].unique_key


def test_old_results_are_read_by_a_second_alias(before: dict[str, Any]) -> None:
    done = before["added"].id
    DBTaskResult.objects.filter(pk=done).update(status="SUCCESSFUL", return_value=3)

    with override_settings(TASKS={**settings.TASKS, "before": BEFORE["default"]}):
        assert output_of() == "2 tasks taken over"
        with pytest.raises(exceptions.TaskResultDoesNotExist):
            tasks.add.get_result(done)

        assert task_backends["before"].get_result(done).return_value == 3
