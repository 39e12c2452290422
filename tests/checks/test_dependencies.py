"""``check`` names a model that says wrongly whether others may wait for its tasks."""

from typing import Any

import pytest
from django.core import checks

from django_simpletask3 import checks as own_checks
from tests.checks.test_checks import messages_of_package
from tests.testapp.models import LargeStep, PaidInvoice, Step

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
