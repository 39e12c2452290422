"""How long to wait before the next try."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_simpletask3.conf.backoff import exponential_delay


@pytest.mark.parametrize(
    ("tries", "seconds"), [(1, 1.0), (2, 2.0), (3, 4.0), (9, 256.0), (10, 300.0), (10**9, 300.0)]
)
def test_each_wait_is_twice_the_last_up_to_a_limit(tries: int, seconds: float) -> None:
    assert exponential_delay(tries, jitter=0.0) == seconds


@given(
    tries=st.integers(min_value=-5, max_value=10**6),
    base=st.floats(min_value=0.001, max_value=60.0),
    cap=st.floats(min_value=0.001, max_value=86400.0),
    jitter=st.floats(min_value=0.0, max_value=1.0),
)
def test_jitter_only_shortens_the_wait_and_not_by_more_than_its_share(
    tries: int, base: float, cap: float, jitter: float
) -> None:
    longest = exponential_delay(tries, base=base, cap=cap, jitter=0.0)

    seconds = exponential_delay(tries, base=base, cap=cap, jitter=jitter)

    assert longest * (1.0 - jitter) <= seconds <= longest <= cap


def test_many_who_failed_together_do_not_come_back_together() -> None:
    waits = {exponential_delay(5) for _ in range(50)}

    assert len(waits) > 40
