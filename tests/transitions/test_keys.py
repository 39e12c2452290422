"""A key is the same before a task is saved and after it was read, for columns of every kind."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, models
from django.test.utils import isolate_apps

from django_simpletask3.conf.column_template import ColumnTemplate
from django_simpletask3.exceptions import InvalidKey
from django_simpletask3.transitions.keys import fields_in, key_of_values
from tests.columns import plain_columns

pytestmark = pytest.mark.django_db(transaction=True)

#: Values that a task may be given, by the kinds of the columns; and some that are converted.
VALUES: dict[str, tuple[Any, ...]] = {
    "BigIntegerField": (2**60, "7"),
    "BinaryField": (b"ab\xff", memoryview(b"ab")),
    "BooleanField": (True, "t"),
    "CharField": ("Ada ", 7),
    "DateField": (date(2026, 3, 1), "2026-03-01"),
    "DateTimeField": (datetime(2026, 3, 1, 4, 5, 6, 789, UTC), "2026-03-01T01:02:03+02:00"),
    "DecimalField": (Decimal("1.5"), "1.50", 2, Decimal("1.5051"), 1.1, -0.0),
    "DurationField": (timedelta(days=1, microseconds=3),),
    "EmailField": ("ada@example.com",),
    "FilePathField": ("/tmp/a",),
    "FloatField": (0.1, 3, "1e3", -0.0, 1e300),
    "GenericIPAddressField": ("10.0.0.1", "2001:0db8::0001"),
    "IntegerField": (7, "7"),
    "JSONField": (
        *({"aa": {"d": 1, "c": (1, 2)}, "b": 1}, [1.5, {7: None}], {7: 1, "b": 2}, "text", 7),
        *(1e16, 2.0, [1e16, -1e300, 1e-9, -0.0, 2.0]),
    ),
    "PositiveBigIntegerField": (7,),
    "PositiveIntegerField": (7,),
    "PositiveSmallIntegerField": (7,),
    "SlugField": ("a-b",),
    "SmallIntegerField": (7,),
    "TextField": ("a\nb",),
    "TimeField": (time(4, 5), "04:05:06", time(4, 5, 6, 7)),
    "URLField": ("https://example.com/",),
    "UUIDField": (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
}


@pytest.fixture
def model() -> Iterator[Any]:
    """A model, with a table, that has a column of each kind."""
    with isolate_apps("tests.testapp"):
        meta = type("Meta", (), {"app_label": "testapp"})
        body = {"__module__": __name__, "Meta": meta, **plain_columns()}
        model: Any = type("AllKinds", (models.Model,), body)
        with connection.schema_editor() as editor:
            editor.create_model(model)
        yield model
        with connection.schema_editor() as editor:
            editor.delete_model(model)


def test_every_kind_of_column_is_tried() -> None:
    assert {type(field).__name__ for field in plain_columns().values()} == set(VALUES)


def test_the_key_of_a_row_is_that_of_the_new_task(model: Any) -> None:
    different = []
    for name, field in plain_columns().items():
        for value in VALUES[type(field).__name__]:
            pk = model.objects.create(**{name: value}).pk
            row = model.objects.values().get(pk=pk)
            keys = [_key(model, name, values) for values in ({name: value}, row)]
            if keys[0] != keys[1]:
                different.append((name, value, keys))

    assert different == []


def test_decimals_that_the_databases_do_not_round_alike_make_no_key(model: Any) -> None:
    with pytest.raises(InvalidKey, match=r"1\.505 has more decimal places than its column"):
        _key(model, "a_decimalfield", {"a_decimalfield": Decimal("1.505")})


@isolate_apps("tests.testapp")
def test_decimals_of_any_precision_make_one_key() -> None:
    class Measured(models.Model):
        value = models.DecimalField()  # as Django 6.1 allows

        class Meta:
            app_label = "testapp"

    assert len({_key(Measured, "value", {"value": each}) for each in ("1.50", Decimal("1.5"))}) == 1


def _key(model: Any, name: str, values: dict[str, Any]) -> str | None:
    template = ColumnTemplate(f"{{{name}}}")
    return key_of_values(model, template, fields_in(model, template), values)
