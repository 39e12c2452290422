"""The page about unique tasks: its models, its tasks, its recipe."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import models
from django.test.utils import isolate_apps

from django_simpletask3.checks.unique import check_unique
from django_simpletask3.models import UniqueTask
from django_simpletask3.states import Status
from django_simpletask3.unique import Unique
from tests.docs.test_how_to import defined_by, how_to
from tests.steps import row_of
from tests.testapp.models import Bill

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = how_to("enqueue-once")


def run_block(containing: str, **names: Any) -> dict[str, Any]:
    """What a block of the page defines; its models are Bill, whose columns have other names."""
    code = PAGE.block("python", containing)
    for theirs, ours in {"invoice_id": "number", "shop=": "number=", "since=": "due="}.items():
        code = code.replace(theirs, ours)
    code = code.replace("waiting.since", "waiting.due")
    for name in ("SendInvoice", "RebuildIndex"):
        ours = f"from tests.testapp.models import Bill as {name}"
        code = code.replace(f"from app.models import {name}", ours)
    return defined_by(code, **names)


@isolate_apps("tests.testapp")
def test_the_model_declares_its_key() -> None:
    code = (
        PAGE.block("python", "def do_task") + '\n    class Meta:\n        app_label = "testapp"\n'
    )

    model: type[models.Model] = defined_by(code, __name__=__name__)["SendInvoice"]

    assert issubclass(model, UniqueTask)
    assert model.django_simpletask3_unique == Unique("{invoice_id}", "started", "refuse")
    assert {"invoice_id", "unique_key"} <= {field.name for field in model._meta.fields}


@isolate_apps("tests.testapp")
def test_the_template_with_a_day_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    template, field = '"{shop_id} {day:%Y-%m-%d}"', "day = models.DateField(default=date.today)"
    code = PAGE.block("python", "def do_task").replace('"{invoice_id}"', template)
    code = code.replace("invoice_id = ", f"{field}\n    shop_id = ")
    assert f"`{template}`, with `{field}`" in PAGE.text

    code = f'from datetime import date\n{code}\n    class Meta:\n        app_label = "testapp"\n'
    model = defined_by(code, __name__=__name__)["SendInvoice"]
    monkeypatch.setattr("django_simpletask3.checks.unique.task_models", lambda: [model])

    assert check_unique() == []


def test_a_second_task_is_refused(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    task = run_block("except DuplicateTask")["task"]

    assert capsys.readouterr().out == f"already enqueued: {task.pk}\n"
    assert Bill.objects.count() == 1


def test_the_new_ones_of_many_can_be_chosen(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bill, "django_simpletask3_unique", Unique("{number}", on_conflict="join"))
    Bill.objects.enqueue(number="7")

    found = run_block("bulk_enqueue(")

    assert len(found["tasks"]) == 3
    assert len(found["new"]) == 1


def test_a_burst_of_changes_leaves_one_task_that_is_not_put_off_for_ever(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unique = Unique("{number}", on_conflict="replace")
    monkeypatch.setattr(Bill, "django_simpletask3_unique", unique)
    rebuild_soon = run_block("def rebuild_soon")["rebuild_soon"]

    first, second = rebuild_soon("ada"), rebuild_soon("ada")
    Bill.objects.filter(pk=second.pk).update(due=first.due - timedelta(minutes=2))
    third = rebuild_soon("ada")

    assert [row_of(task).status for task in (first, second, third)] == [
        *(Status.CANCELED, Status.CANCELED, Status.PENDING),
    ]
    assert first.due == second.due
    assert first.run_after < second.run_after
    assert third.run_after < first.run_after
