"""The page about log events names those of the package, with their levels and keys."""

import re

import pytest

from tests.docs.log_calls import log_calls, log_events
from tests.docs.pages import reference, words

EVENTS = log_events()


def table() -> dict[str, list[str]]:
    return {
        words(row[0])[0]: row for row in reference("log").rows if len(row) == 4 and words(row[0])
    }


def test_every_event_has_a_row_and_every_row_an_event() -> None:
    assert set(table()) == set(EVENTS)


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_level_and_keys_are_those_of_the_calls(name: str) -> None:
    levels, keys = EVENTS[name]
    _, documented_levels, documented_keys, meaning = table()[name]

    assert set(documented_levels.split(", ")) == levels
    assert set(words(documented_keys)) == keys
    assert meaning


@pytest.mark.parametrize(("where", "template"), [(w, t) for w, _, t in log_calls()])
def test_a_record_is_a_name_and_pairs(where: str, template: str) -> None:
    assert re.fullmatch(r"[a-z_]+(%s)?( [a-z_]+=\S+)*", template), where
