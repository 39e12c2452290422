"""How long to wait before the next try, and which errors are tried again."""

import copy
import math
import pickle
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_simpletask3.retries import (
    Exponential,
    Fixed,
    error_entries,
    resolve_error,
    seconds_of,
)


@pytest.mark.parametrize(
    ("retry_number", "seconds"),
    [(-1, 1.0), (1, 1.0), (2, 2.0), (3, 4.0), (9, 256.0), (10, 300.0), (10**9, 300.0)],
)
def test_each_delay_is_twice_the_last_up_to_a_maximum(retry_number: int, seconds: float) -> None:
    assert Exponential(jitter=0)(retry_number, ValueError()) == seconds


def test_first_factor_and_maximum_are_as_given() -> None:
    backoff = Exponential(timedelta(minutes=1), Decimal("1.5"), timedelta(minutes=2), jitter=0)

    assert [backoff(number) for number in (1, 2, 3, 10**6)] == [60.0, 90.0, 120.0, 120.0]


@given(
    retry_number=st.integers(min_value=-5, max_value=10**6),
    first=st.floats(min_value=0.001, max_value=60.0),
    factor=st.floats(min_value=1.0, max_value=1e300),
    maximum=st.floats(min_value=0.001, max_value=86400.0),
    jitter=st.floats(min_value=0.0, max_value=1.0),
)
def test_jitter_only_shortens_the_delay_and_not_by_more_than_its_fraction(
    retry_number: int, first: float, factor: float, maximum: float, jitter: float
) -> None:
    longest = Exponential(first, factor, maximum, jitter=0.0)(retry_number)

    seconds = Exponential(first, factor, maximum, jitter)(retry_number)

    assert longest * (1.0 - jitter) <= seconds <= longest <= maximum


def test_many_that_failed_together_are_not_tried_again_together() -> None:
    delays = {Exponential()(5) for _ in range(50)}

    assert len(delays) > 40


@pytest.mark.parametrize("seconds", [0, 7, 2.5, timedelta(minutes=1), Decimal("0.5")], ids=repr)
def test_a_fixed_delay_is_always_the_same(seconds: Any) -> None:
    backoff = Fixed(seconds)

    assert {backoff(number, OSError()) for number in range(10)} == {seconds_of(seconds)}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        *(
            ("first", bad)
            for bad in (0, -1, 10**400, math.inf, math.nan, "1", None, True, timedelta(0))
        ),
        *(("maximum", bad) for bad in (0, math.inf, "300", [300])),
        *(("factor", bad) for bad in (0.5, -2, math.inf, math.nan, "2", timedelta(2))),
        *(("jitter", bad) for bad in (-0.1, 1.5, math.nan, "0", timedelta(0))),
    ],
    ids=repr,
)
def test_what_makes_no_delay_is_refused_by_name(name: str, bad: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} is .*; expected a "):
        Exponential(**{name: bad})  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [-1, math.inf, math.nan, "5", None, True], ids=repr)
def test_a_fixed_delay_is_a_duration(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^seconds is .*; expected a number of seconds"):
        Fixed(bad)


@pytest.mark.parametrize("copied", [copy.copy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_backoff_is_a_value(copied: Any) -> None:
    assert copied(Exponential(first=5)) == Exponential(5) != Exponential()
    assert repr(Fixed(5)) == "Fixed(seconds=5)"


@pytest.mark.parametrize(
    ("names", "entries"),
    [
        (None, []),
        ((), []),
        (OSError, [OSError]),
        ("builtins.OSError", ["builtins.OSError"]),
        ((OSError, "builtins.KeyError"), [OSError, "builtins.KeyError"]),
        ([OSError], [OSError]),
        (7, [7]),
    ],
    ids=repr,
)
def test_one_name_is_as_good_as_several(names: Any, entries: list[object]) -> None:
    assert list(error_entries(names)) == entries


@pytest.mark.parametrize("entry", [OSError, "builtins.OSError", "os.error"], ids=repr)
def test_a_class_and_its_path_are_the_same_error(entry: object) -> None:
    assert resolve_error(entry) is OSError


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("smtplib.SMTPExeption", "ImportError"),
        ("no.such.Module", "ModuleNotFoundError"),
        ("OSError", "ImportError"),
        ("", "ImportError"),
        ("..", "cannot be imported"),
        ("smtplib.SMTP", "is no exception class"),
        (int, "is no exception class"),
        (OSError(), "is no exception class"),
        (7, "is no exception class"),
    ],
    ids=repr,
)
def test_what_is_no_error_says_why(entry: object, why: str) -> None:
    with pytest.raises(LookupError, match=why):
        resolve_error(entry)


def test_a_module_that_ends_the_program_names_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script_that_ends.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(LookupError, match="SystemExit: 3"):
        resolve_error("script_that_ends.Error")
