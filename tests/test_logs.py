"""A log record is one line, whatever its values hold."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_simpletask3.logs import TerminalFormatter, get_logger, printable, quote
from tests.project.sources import package_sources

logger = get_logger("django_simpletask3.tests")

#: The adapter itself, and the two modules that change handlers.
WITH_LOGGERS_OF_LOGGING = {
    "logs",
    "management.commands.django-simpletask3-server",
    "worker.node.log_queues",
}
#: What a terminal takes for a command, or what would begin a line of its own.
HOSTILE = ["\x1b[2J", "\n", "\r", "\x07", "\x08", "\x7f", "\x9b31m", "\u2028", "\u202e", "\ud800"]


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


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_value_sends_nothing_to_the_terminal(text: str) -> None:
    assert quote(f"a{text}b").isprintable()
    assert printable(f"a{text}b").isprintable()
    assert printable(f"a{text}b").startswith("a\\")


def test_a_text_that_can_be_printed_stays_as_it_is() -> None:
    assert printable("发票　№ 7\u00a0€") == "发票　№ 7\u00a0€"


def test_a_value_that_has_no_text_is_named_by_its_class() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert quote(Mute()).endswith("Mute")


def test_a_long_value_is_cut() -> None:
    assert len(quote("x" * 10_000_000)) < 2100


def test_no_line_of_a_traceback_can_be_taken_for_a_record() -> None:
    try:
        raise ValueError("\x1b[2J\n2026-11-29 ERROR forged")
    except ValueError as error:
        record = logging.makeLogRecord({"msg": "task_fail", "exc_info": (None, error, None)})

    first, *lines = TerminalFormatter().format(record).splitlines()

    assert first == "task_fail"
    assert all(line.startswith("  ") and line.isprintable() for line in lines)


def test_an_exception_without_a_traceback_that_can_be_written_is_logged() -> None:
    error = SyntaxError("no")
    error.filename, error.text, error.lineno = "f", 5, "x"  # type: ignore[assignment]
    record = logging.makeLogRecord({"msg": "task_fail", "exc_info": (SyntaxError, error, None)})

    text = TerminalFormatter().format(record)

    assert text == "task_fail\n  SyntaxError: its traceback cannot be formatted"


def test_a_long_traceback_is_cut_in_the_middle() -> None:
    error = ValueError(f"begins {'x' * 10_000_000} ends")
    record = logging.makeLogRecord({"msg": "task_fail", "exc_info": (ValueError, error, None)})

    text = TerminalFormatter().format(record)

    assert len(text) < 50_000
    assert "begins" in text
    assert text.endswith("ends")


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
        if source.name not in WITH_LOGGERS_OF_LOGGING
        and "logging.getLogger(" in source.path.read_text(encoding="utf-8")
    ]

    assert plain == []
