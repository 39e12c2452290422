"""``check`` names a model that says wrongly whether others may wait for its tasks."""

from typing import Any

import pytest
from django.core import checks

from django_simpletask3 import checks as own_checks
from django_simpletask3.limits import Limit
from tests.checks.test_checks import messages_of_package
from tests.testapp.models import LargeStep, PaidInvoice, Step, TextKeyed

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]


def test_what_is_neither_true_nor_false_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LargeStep, "django_simpletask3_can_be_awaited", "yes")

    (error,) = messages_of_package()

    assert (error.level, error.id) == (checks.ERROR, own_checks.PREREQUISITE_ID)
    assert "is 'yes'; expected True or False" in error.msg


@pytest.mark.parametrize(("model", "root"), [(PaidInvoice, "Invoice"), (LargeStep, "Step")])
def test_all_models_of_a_table_agree(
    model: Any, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = not model.django_simpletask3_can_be_awaited
    monkeypatch.setattr(model, "django_simpletask3_can_be_awaited", other)

    (error,) = messages_of_package()

    assert (error.id, error.obj) == (own_checks.PREREQUISITE_ID, model)
    assert f"differs from that of testapp.{root}" in error.msg
    assert Step.django_simpletask3_can_be_awaited


@pytest.mark.parametrize(
    ("attribute", "value", "id_"),
    [
        ("django_simpletask3_can_be_awaited", True, own_checks.PREREQUISITE_ID),
        ("django_simpletask3_limit", Limit(1), own_checks.LIMIT_ID),
    ],
)
@pytest.mark.parametrize("max_length", [255, 256, None])
def test_keys_fit_the_tables_that_name_tasks(
    attribute: str, value: Any, id_: str, max_length: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TextKeyed._meta.pk, "max_length", max_length)
    assert messages_of_package() == []

    monkeypatch.setattr(TextKeyed, attribute, value)

    errors = messages_of_package()
    assert [(error.id, error.obj) for error in errors] == (
        [] if max_length == 255 else [(id_, TextKeyed)]
    )
    assert all("key of testapp.TextKeyed may be longer than 255" in error.msg for error in errors)
