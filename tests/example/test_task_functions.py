"""The tasks of the example project, run by a real worker (scenario.py)."""

from typing import Any

import pytest

Outcomes = dict[str, Any]


@pytest.mark.parametrize(
    ("picture", "width", "height"),
    [
        pytest.param("Wide", 160, 107, id="wide"),
        pytest.param("Upright", 125, 160, id="rotated by EXIF"),
        pytest.param("Clear", 160, 160, id="transparent"),
    ],
)
def test_a_picture_gets_a_thumbnail(
    outcomes: Outcomes, picture: str, width: int, height: int
) -> None:
    outcome = outcomes[picture]

    assert outcome["status"] == "SUCCESS"
    assert (outcome["result"]["width"], outcome["result"]["height"]) == (width, height)
    assert outcome["events"] == ["enqueue", "start", "ack"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        pytest.param("Cut off", "OSError", "truncated", id="truncated"),
        pytest.param("No picture", "UnidentifiedImageError", "cannot identify", id="no picture"),
        pytest.param("bad sheet", "ValueError", "no picture", id="sheet of bad pictures"),
        pytest.param("empty sheet", "ValueError", "no picture", id="empty sheet"),
        pytest.param("newsletter", "WrongColumns", "email, subscribed", id="other columns"),
        pytest.param("nothing", "NothingToImport", "line 4: 3 cells", id="no line is good"),
    ],
)
def test_a_task_with_bad_input_fails_with_an_error(
    outcomes: Outcomes, name: str, error: str, message: str
) -> None:
    outcome = outcomes[name]

    assert outcome["status"] == "FAILED"
    assert outcome["error"][0].endswith(error)
    assert message in outcome["error"][1]


def test_a_sheet_leaves_out_pictures_that_cannot_be_read(outcomes: Outcomes) -> None:
    outcome = outcomes["sheet"]

    assert outcome["status"] == "SUCCESS"
    assert outcome["result"] == {"pictures": 2, "unreadable": ["Cut off"]}
    assert outcome["events"] == ["enqueue", "start", "note", "note", "note", "ack"]


def test_bad_lines_are_reported_and_the_others_imported(outcomes: Outcomes) -> None:
    outcome = outcomes["november"]

    assert outcome["orders"] == 14
    assert outcome["columns"] == [14, 6]
    assert [line["line"] for line in outcome["result"]["bad_lines"]] == [5, 8, 9, 13, 16, 19]


@pytest.mark.parametrize("name", ["october", "november"])
def test_the_totals_match_the_rows(outcomes: Outcomes, name: str) -> None:
    assert outcomes[name]["sums agree"]


def test_a_file_that_fails_leaves_no_orders(outcomes: Outcomes) -> None:
    assert outcomes["newsletter"]["orders"] == 0


def test_a_file_of_a_spreadsheet_program_is_read(outcomes: Outcomes) -> None:
    assert outcomes["excel"]["result"]["totals"] == {"Ann": "2.50"}


def test_a_second_run_replaces_the_files_of_the_first(outcomes: Outcomes) -> None:
    again = outcomes["again"]

    assert again["Wide"]["events"] == ["enqueue", "start", "ack", "reset", "start", "ack"]
    assert again["october"]["status"] == "SUCCESS"
    assert again["orders"] == 24
    assert len(again["thumbnails"]) == 3


def test_every_outcome_is_notified_once(outcomes: Outcomes) -> None:
    assert len(outcomes["notifications"]) == 13
    assert "Thumbnail 1, Wide, is done" in outcomes["notifications"]
    assert any(
        subject.endswith("newsletter.csv, has failed") for subject in outcomes["notifications"]
    )
    assert outcomes["again"]["notifications"] == 15


def test_an_outcome_is_not_notified_twice(outcomes: Outcomes) -> None:
    assert outcomes["notified twice"] == 15


def test_missing_notifications_are_written_later(outcomes: Outcomes) -> None:
    assert outcomes["catching up"] == [3, 0, 15]
