"""A table for spreadsheets: what a cell holds is shown, and nothing of it is computed."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_simpletask3.monitoring.csv_export import lines

SIGNS = ["=", "+", "-", "@", "＝", "＋", "－", "＠", "﹣", "﹢", "﹦", "﹫", "−", "⁺", "₌"]
BEFORE = ["", " ", "\n", "\r\n", "\t", "\v", "\x00", "\x1b", "\u00a0", "\u3000", "\ufeff", "\u200b"]


def cell(text: str) -> str:
    """``text`` as a spreadsheet reads it."""
    _, line = lines(["head"], [[text]])
    [[value]] = csv.reader([line])
    return value


@pytest.mark.parametrize("before", BEFORE, ids=ascii)
@pytest.mark.parametrize("sign", SIGNS)
def test_a_cell_is_no_formula(before: str, sign: str) -> None:
    assert cell(f"{before}{sign}1+1").startswith("'")


@pytest.mark.parametrize("first", ["\t", "\n", "\r"], ids=ascii)
def test_a_cell_does_not_begin_with_a_line_break(first: str) -> None:
    assert cell(f"{first}text").startswith("'")


@pytest.mark.parametrize("text", ["", "lease_expired", "host:1:a-b", " a=1", "发票", "'x", "1-2"])
def test_other_cells_stay_as_they_are(text: str) -> None:
    assert cell(text) == text


@given(st.text())
def test_no_cell_sends_anything_to_the_terminal(text: str) -> None:
    visible = cell(text).translate(dict.fromkeys(map(ord, "\t\n\r")))

    assert all(c.isprintable() or c.isspace() for c in visible)
    assert "\x1b" not in visible
