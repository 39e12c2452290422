"""The stylesheet holds in languages that are written from right to left, too."""

import re

import pytest

from tests.project.sources import PACKAGE, ROOT

STYLES = (ROOT / PACKAGE / "static" / PACKAGE / "admin.css").read_text(encoding="utf-8")
DECLARATIONS = re.findall(
    r"([\w-]+): ([^;{}]+)(?=[;}])", re.sub(r"/\*.*?\*/", "", STYLES, flags=re.DOTALL)
)
#: Shorthands whose second value is for the right side, and the fourth for the left one.
_OF_SIDES = ("padding", "margin", "inset", "border-width", "border-color", "border-style")


def is_physical(name: str, value: str) -> bool:
    """Whether a declaration means the left or the right side, wherever a line begins."""
    if name in _OF_SIDES or name == "border-radius":
        values = value.split()
        is_mirrored = values[0:1] == values[1:2] and values[2:3] == values[3:4]
        if name == "border-radius":
            return len(values) > 1 and not (len(values) == 4 and is_mirrored)
        return len(values) == 4 and values[1] != values[3]
    return bool(re.search(r"\b(left|right)\b", f"{name} {value}"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("margin-left", "4px"),
        ("border-right", "0"),
        ("left", "0"),
        ("text-align", "right"),
        ("float", "left"),
        ("padding", "0 9px 0 7px"),
        ("border-radius", "0 6px 6px 0"),
    ],
)
def test_a_side_of_the_page_is_found(name, value) -> None:
    assert is_physical(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("margin-inline-start", "4px"),
        ("padding", "0 8px"),
        ("padding", "1px 2px 3px 2px"),
        ("text-align", "start"),
        ("border-radius", "6px"),
        ("border-radius", "6px 6px 0 0"),
    ],
)
def test_what_mirrors_is_not(name, value) -> None:
    assert not is_physical(name, value)


def test_the_stylesheet_names_no_side_of_the_page() -> None:
    assert len(DECLARATIONS) > 500
    assert [one for one in DECLARATIONS if is_physical(*one)] == []
