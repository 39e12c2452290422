"""Columns: what they hold, and what a project's migrations say of them."""

import inspect
import re
from typing import Any

import pytest
from django.core import serializers
from django.core.exceptions import ValidationError
from django.db import connections, models
from django.db.migrations.state import ModelState
from django.db.migrations.writer import MigrationWriter

from django_simpletask3.ledger.encoding import TAG
from django_simpletask3.ledger.event import events_of
from django_simpletask3.ledger.fields import KIND, STATUS, JSONTextField, KindField, StatusField
from django_simpletask3.ledger.projection import broken_links, fold
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.ledger.test_encoding import KEPT, NASTY
from tests.steps import TABLES, bring_to, create_task, label_of, projection_of, row_of, stream_of
from tests.testapp.models import Invoice, Reminder

MODELS = [*TABLES, *(model.event_model for model in TABLES)]


def migration_of(field: Any) -> str:
    text, imports = MigrationWriter.serialize(field)
    return f"{sorted(imports)} {text}"


@pytest.mark.parametrize("model", MODELS, ids=label_of)
def test_a_migration_names_nothing_of_this_package(model: type[models.Model]) -> None:
    state = ModelState.from_model(model)

    reported = {name: migration_of(field) for name, field in state.fields.items()}

    assert {name: text for name, text in reported.items() if "simpletask3" in text} == {}
    assert all(not inspect.isclass(base) or base is models.Model for base in state.bases)
    assert not any("simpletask3" in repr(value) for value in state.options.values())


@pytest.mark.parametrize("model", MODELS, ids=label_of)
def test_a_migration_has_no_choices_so_that_a_state_can_be_added(model: type[Any]) -> None:
    own = [f for f in model._meta.local_fields if isinstance(f, StatusField | KindField)]

    reported = [field.clone().deconstruct() for field in own]

    assert own
    assert not any("choices" in arguments for _, _, _, arguments in reported)
    assert all(path.startswith("django.db.models.") for _, path, _, _ in reported)


# MySQL and MariaDB are asked which of the two they are.
@pytest.mark.django_db
def test_a_column_is_of_the_same_type_as_its_migration_says() -> None:
    state = ModelState.from_model(Invoice)
    connection = connections["default"]

    kinds = {
        name: (field.db_type(connection), Invoice._meta.get_field(name).db_type(connection))
        for name, field in state.fields.items()
    }

    assert all(migrated == used for migrated, used in kinds.values())


def test_every_state_and_every_kind_has_a_name_for_people() -> None:
    assert [value for value, _ in STATUS] == list(Status)
    assert [value for value, _ in KIND] == list(EventKind)
    assert all(str(label) for _, label in [*STATUS, *KIND])


def test_a_status_is_read_as_a_member_and_shown_translated() -> None:
    task = Invoice(status=20)

    assert StatusField().to_python("20") is Status.SUCCESS
    assert task.get_status_display() == "Succeeded"


def test_a_state_of_a_later_version_stays_a_number_and_a_kind_a_word() -> None:
    assert StatusField().from_db_value(99, None, None) == 99
    assert KindField(max_length=32).from_db_value("merge", None, None) == "merge"


@pytest.mark.parametrize("nonsense", ["soon", "1.5", ""])
def test_a_text_that_is_no_number_is_no_status(nonsense: str) -> None:
    with pytest.raises(ValidationError):
        StatusField().to_python(nonsense)


@pytest.mark.django_db
@pytest.mark.parametrize("name", [name for name in KEPT if name != "nothing"])
def test_a_result_comes_back_from_the_database_as_it_was(name: str) -> None:
    task = bring_to(create_task(Invoice), Status.RUNNING)

    apply(task, EventKind.ACK, worker="w1", result=KEPT[name])

    back = row_of(task).result_data
    assert repr(back) == repr(KEPT[name]) or back == KEPT[name]
    assert type(back) is type(KEPT[name])


@pytest.mark.django_db
@pytest.mark.parametrize("name", NASTY)
def test_no_result_is_too_strange_for_the_database(name: str) -> None:
    task = bring_to(create_task(Invoice), Status.RUNNING)

    event = apply(task, EventKind.ACK, worker="w1", result=NASTY[name])

    assert row_of(task).status == Status.SUCCESS
    assert set(event.data["result"]) == {"digest", "size"}


@pytest.mark.django_db
def test_a_result_beyond_the_limit_is_cut_and_marked(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_RESULT_SIZE_LIMIT = 300
    task = bring_to(create_task(Invoice), Status.RUNNING)

    apply(task, EventKind.ACK, worker="w1", result=["x" * 500])

    assert row_of(task).result_data == {TAG: "truncated", "size": 504, "head": '["' + "x" * 98}


@pytest.mark.django_db
def test_no_result_is_no_value_in_the_database() -> None:
    task = bring_to(create_task(Invoice), Status.SUCCESS)

    assert Invoice.objects.filter(pk=task.pk, result_data=None, error_data__isnull=True).exists()


def test_what_another_process_wrote_by_hand_is_read_as_it_is() -> None:
    assert JSONTextField().from_db_value("no json", None, None) == "no json"


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["json", "jsonl", "xml", "python"])
def test_a_fixture_brings_a_task_and_its_stream_back(kind: str) -> None:
    task = bring_to(create_task(Reminder, text="call"), Status.RUNNING)
    apply(task, EventKind.ACK, worker="w1", result={"sum": KEPT["decimal"], "text": "5", "a": [1]})
    result, length = row_of(task).result_data, len(stream_of(task))
    fixture = serializers.serialize(kind, [row_of(task), *stream_of(task)])
    events_of(Reminder, None)._raw_delete("default")
    models.QuerySet(Reminder)._raw_delete("default")

    for loaded in serializers.deserialize(kind, fixture):
        loaded.save()

    assert row_of(task).result_data == result
    assert len(stream_of(task)) == length
    assert broken_links(stream_of(task)) == []
    assert fold(stream_of(task)) == projection_of(task)


def test_a_migration_of_a_task_reads_like_any_other() -> None:
    text = migration_of(Invoice._meta.get_field("status"))

    assert re.search(r"models\.IntegerField\(db_index=True, default=0, editable=False", text)
