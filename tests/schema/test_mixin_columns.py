"""The migrations of models whose tasks expire, or are unique, name Django's fields only."""

from typing import Any

import pytest
from django.db.migrations.operations import AddField, CreateModel
from django.db.migrations.state import ModelState
from django.db.migrations.writer import MigrationWriter, OperationWriter

from tests.testapp.models import Bill, Offer


def test_the_column_is_a_plain_one_of_django() -> None:
    state = ModelState.from_model(Offer)
    added = AddField("offer", "expires_at", state.fields["expires_at"])

    text, imports = OperationWriter(added).serialize()

    assert "field=models.DateTimeField(blank=True, editable=False, null=True," in "".join(
        line.strip() for line in text.splitlines()
    )
    assert not any("simpletask3" in line for line in imports)


def test_the_unique_key_is_a_plain_column_of_django() -> None:
    state = ModelState.from_model(Bill)

    text, imports = OperationWriter(
        AddField("bill", "unique_key", state.fields["unique_key"])
    ).serialize()

    assert "field=models.UUIDField(editable=False, null=True, unique=True," in "".join(
        line.strip() for line in text.splitlines()
    )
    assert not any("simpletask3" in line for line in imports)


@pytest.mark.parametrize("model", [Offer, Bill])
def test_no_class_of_the_package_is_a_base_of_the_migrated_model(model: Any) -> None:
    state = ModelState.from_model(model)
    created = CreateModel(state.name, list(state.fields.items()), state.options, state.bases)

    text = MigrationWriter.serialize(created)[0]

    assert "simpletask3" not in text
