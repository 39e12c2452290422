"""Columns of every kind that Django has, for models of tests."""

from inspect import isclass
from typing import Any

from django.db import models

#: What is no column of its own, or has no value before the row is saved.
_OTHERS = {"Field", "CompositePrimaryKey", "FileField", "GeneratedField", "ImageField", "OrderWrt"}
_NEEDS: dict[str, dict[str, Any]] = {
    "BinaryField": {"max_length": 99},
    "CharField": {"max_length": 99},
    "DecimalField": {"max_digits": 9, "decimal_places": 2},
    "FilePathField": {"path": "/"},
}


def plain_columns() -> dict[str, models.Field[Any, Any]]:
    """A column of each kind, by a name made of that of its class."""
    kinds = [kind for kind in vars(models).values() if isclass(kind) and is_plain(kind)]
    return {
        f"a_{kind.__name__.lower()}": kind(null=True, **_NEEDS.get(kind.__name__, {}))
        for kind in kinds
    }


def is_plain(kind: type[Any]) -> bool:
    """Whether ``kind`` is a field whose value is set before the row is saved."""
    if not issubclass(kind, models.Field) or issubclass(kind, models.AutoField | models.ForeignKey):
        return False
    if kind.system_check_removed_details:
        return False
    is_relation = kind.__module__.startswith("django.db.models.fields.related")
    return not is_relation and kind.__name__ not in _OTHERS
