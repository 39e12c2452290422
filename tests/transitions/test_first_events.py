"""The first events of tasks that are enqueued together."""

from itertools import count
from typing import Any

from django.db import models
from django.test.utils import isolate_apps

from django_simpletask3.transitions.transition import has_constant_defaults

NUMBERS = count()


class NumberedField(models.IntegerField):  # type: ignore[type-arg]
    """Has another default for each instance, by a method of its class."""

    def get_default(self) -> int:
        return next(NUMBERS)


@isolate_apps("tests.testapp")
def test_an_event_is_copied_only_if_each_new_one_has_the_same_defaults() -> None:
    class Plain(models.Model):
        text = models.TextField(default="")

        class Meta:
            app_label = "testapp"

    class Numbered(models.Model):
        number = NumberedField()

        class Meta:
            app_label = "testapp"

    class Called(models.Model):
        values: Any = models.JSONField(default=list)

        class Meta:
            app_label = "testapp"

    found = [has_constant_defaults(model) for model in (Plain, Numbered, Called)]

    assert found == [True, False, False]
