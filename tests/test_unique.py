"""The declaration of unique tasks."""

from datetime import date
from typing import Any

import pytest

from django_simpletask3.unique import Unique

WRONG: list[dict[str, Any]] = [
    *({"template": bad} for bad in ("", None, 3, ["{number}"])),
    *({"template": bad} for bad in ("{", "{}", "{0}", "{a.b}", "{a[0]}", "{a:{b}}", "{a-b}")),
    *({"template": "{a}", "until": bad} for bad in ("", None, "start", ["started"])),
    *({"template": "{a}", "on_conflict": bad} for bad in ("", None, "ignore", 1)),
]


@pytest.mark.parametrize("arguments", WRONG, ids=str)
def test_what_says_nothing_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|columns only"):
        Unique(**arguments)


def test_a_key_is_the_template_filled_in() -> None:
    unique = Unique("{customer}/{month:%Y-%m} {customer!r:>4}")

    assert unique.names == ("customer", "month")
    assert unique.key_of({"customer": 7, "month": date(2026, 5, 1)}) == ("7/2026-05    7")


def test_a_column_that_is_none_makes_no_key() -> None:
    assert Unique("{a} {b}").key_of({"a": 0, "b": None}) is None
    assert Unique("{a} {b}").key_of({"a": 0, "b": ""}) == "0 "
    assert Unique("nightly").key_of({}) == "nightly"
