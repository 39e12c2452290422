"""Templates of columns, as unique keys and limits have them."""

from datetime import date

import pytest

from django_simpletask3.conf.column_template import ColumnTemplate


@pytest.mark.parametrize("text", ["{", "{}", "{0}", "{a.b}", "{a[0]}", "{a:{b}}", "{a-b}", None, 7])
def test_what_names_more_than_columns_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"expected a text|columns only"):
        ColumnTemplate(text)  # type: ignore[arg-type]


def test_it_is_filled_in_with_columns() -> None:
    template = ColumnTemplate("{customer}/{month:%Y-%m} {customer!r:>4}")

    assert template.names == ("customer", "month")
    assert template.fill_in({"customer": 7, "month": date(2026, 5, 1)}) == "7/2026-05    7"


def test_a_column_that_is_none_makes_no_text() -> None:
    assert ColumnTemplate("{a} {b}").fill_in({"a": 0, "b": None}) is None
    assert ColumnTemplate("{a} {b}").fill_in({"a": 0, "b": ""}) == "0 "
    assert ColumnTemplate("nightly").fill_in({}) == "nightly"
