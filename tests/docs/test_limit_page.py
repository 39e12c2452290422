"""The page about limits: its model, its tasks."""

from typing import Any

import pytest
from django.test.utils import isolate_apps

from django_simpletask3.limits import Limit
from tests.docs.test_how_to import defined_by, how_to
from tests.limits.steps import start_all, statuses
from tests.testapp.models import Errand

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = how_to("limit-running-tasks")


@isolate_apps("tests.testapp")
def test_the_model_has_a_limit() -> None:
    code = PAGE.block("python", "class Import(SimpleTask)")
    code += '\n    class Meta:\n        app_label = "testapp"\n'

    model: Any = defined_by(code, __name__=__name__)["Import"]

    assert model.django_simpletask3_limit == Limit(2, key="{customer_id}")


def test_the_third_task_of_a_customer_waits(redis_url: str) -> None:
    code = PAGE.block("python", "for number in range(3)")
    ours = "from tests.testapp.models import Errand as Import"
    code = code.replace("from app.models import Import", ours)
    defined_by(code.replace("customer_id=7, url=", 'customer="7", script='))

    start_all(Errand.objects.order_by("pk"))

    assert statuses(Errand.objects.order_by("pk")) == ["RUNNING", "RUNNING", "BLOCKED"]
