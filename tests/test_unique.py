"""The declaration of unique tasks."""

from typing import Any

import pytest

from django_simpletask3.unique import Unique

WRONG: list[dict[str, Any]] = [
    *({"template": bad} for bad in ("", None, 3, ["{number}"])),
    *({"template": bad} for bad in ("{", "{}", "{0}", "{a.b}", "{a[0]}", "{a:{b}}", "{a-b}")),
    *({"template": "{a}", "until": bad} for bad in ("", None, "start", ["started"])),
    *({"template": "{a}", "on_conflict": bad} for bad in ("", None, "ignore", 1)),
    {"template": "{a}", "until": "deleted", "on_conflict": "replace"},
]


@pytest.mark.parametrize("arguments", WRONG, ids=str)
def test_what_says_nothing_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|columns only"):
        Unique(**arguments)
