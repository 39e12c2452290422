"""A log record is one line, whatever its values hold."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_simpletask3.logs import get_logger, quote
from tests.project.sources import package_sources

logger = get_logger("django_simpletask3.tests")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("app.Invoice", "app.Invoice"),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ("", '""'),
        ("one\ntwo", '"one\\ntwo"'),
        ('he said "no"', '"he said \\"no\\""'),
        ("发票", "发票"),
        (None, "None"),
        (ValueError("no such row"), '"no such row"'),
    ],
)
def test_a_value_is_quoted_where_it_needs_it(value: object, text: str) -> None:
    assert quote(value) == text


@given(st.text(st.characters(codec="utf-8")))
def test_no_value_begins_a_new_line_or_a_new_key(text: str) -> None:
    quoted = quote(text)

    assert quoted.splitlines() == [quoted]
    assert quoted == text or json.loads(quoted) == text


def test_a_record_says_where_it_was_written(caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("push_failed tasks=%s error=%s", 3, OSError("gone\naway"))

    (record,) = caplog.records
    assert record.getMessage() == 'push_failed tasks=3 error="gone\\naway"'
    assert (record.levelno, record.funcName) == (
        logging.WARNING,
        "test_a_record_says_where_it_was_written",
    )


def test_a_traceback_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        logger.exception("finish_failed model=%s", "app.Invoice")

    assert "ValueError: no" in caplog.text


def test_every_module_logs_this_way() -> None:
    plain = [
        source.name
        for source in package_sources()
        if "logging.getLogger(__name__)" in source.path.read_text(encoding="utf-8")
    ]

    assert plain == []
