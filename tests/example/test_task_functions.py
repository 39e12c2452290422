"""The tasks of the example, run by a real worker (scenario.py)."""

from typing import Any

import pytest

Acts = dict[str, Any]


@pytest.mark.parametrize(
    ("picture", "width", "height"),
    [
        pytest.param("Wide", 160, 107, id="wide"),
        pytest.param("Upright", 125, 160, id="turned as EXIF says"),
        pytest.param("Clear", 160, 160, id="transparent"),
    ],
)
def test_a_picture_gets_a_thumbnail(acts: Acts, picture: str, width: int, height: int) -> None:
    told = acts[picture]

    assert told["status"] == "SUCCESS"
    assert (told["result"]["width"], told["result"]["height"]) == (width, height)
    assert told["events"] == ["enqueue", "start", "ack"]


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        pytest.param("Cut off", "OSError", "truncated", id="truncated"),
        pytest.param("No picture", "UnidentifiedImageError", "cannot identify", id="no picture"),
        pytest.param("bad sheet", "ValueError", "no picture", id="sheet of bad pictures"),
        pytest.param("empty sheet", "ValueError", "no picture", id="empty sheet"),
        pytest.param("newsletter", "WrongColumns", "email, subscribed", id="other columns"),
        pytest.param("nothing", "NothingToImport", "line 4: 3 cells", id="no line is good"),
    ],
)
def test_what_cannot_be_done_fails_and_says_why(
    acts: Acts, name: str, error: str, words: str
) -> None:
    told = acts[name]

    assert told["status"] == "FAILED"
    assert told["error"][0].endswith(error)
    assert words in told["error"][1]


def test_a_sheet_does_without_the_picture_that_cannot_be_read(acts: Acts) -> None:
    told = acts["sheet"]

    assert told["status"] == "SUCCESS"
    assert told["result"] == {"pictures": 2, "unreadable": ["Cut off"]}
    assert told["events"] == ["enqueue", "start", "note", "note", "note", "ack"]


def test_bad_lines_are_reported_and_the_others_imported(acts: Acts) -> None:
    told = acts["november"]

    assert told["orders"] == 14
    assert told["columns"] == [14, 6]
    assert [line["line"] for line in told["result"]["bad_lines"]] == [5, 8, 9, 13, 16, 19]


@pytest.mark.parametrize("name", ["october", "november"])
def test_the_totals_are_those_of_the_rows(acts: Acts, name: str) -> None:
    assert acts[name]["sums agree"]


def test_a_file_that_fails_leaves_no_orders(acts: Acts) -> None:
    assert acts["newsletter"]["orders"] == 0


def test_a_file_of_a_spreadsheet_program_is_read(acts: Acts) -> None:
    assert acts["excel"]["result"]["totals"] == {"Ann": "2.50"}


def test_a_second_run_replaces_what_the_first_one_made(acts: Acts) -> None:
    again = acts["again"]

    assert again["Wide"]["events"] == ["enqueue", "start", "ack", "reset", "start", "ack"]
    assert again["october"]["status"] == "SUCCESS"
    assert again["orders"] == 24
    assert len(again["thumbnails"]) == 3


def test_every_end_is_notified_once(acts: Acts) -> None:
    assert len(acts["notifications"]) == 13
    assert "Thumbnail 1, Wide, is done" in acts["notifications"]
    assert any(subject.endswith("newsletter.csv, has failed") for subject in acts["notifications"])
    assert acts["again"]["notifications"] == 15


def test_what_was_notified_is_not_notified_again(acts: Acts) -> None:
    assert acts["told twice"] == 15


def test_missing_notifications_are_written_later(acts: Acts) -> None:
    assert acts["catching up"] == [3, 0, 15]
