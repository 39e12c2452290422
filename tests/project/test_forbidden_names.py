"""A module is named for the one thing it is about."""

import pytest

from tests.project.sources import Source, name_of, package_sources

SAYS_NOTHING = {"utils", "util", "common", "helpers", "helper", "core", "misc", "base"}
IMPORTED_BY_OTHER_QUEUES = {"tasks"}


@pytest.mark.parametrize("source", package_sources(), ids=name_of)
def test_a_module_has_a_name_of_its_own(source: Source) -> None:
    # The app for Django's Tasks API may have their name; none of its modules may.
    name = source.name.removeprefix("contrib.tasks")
    assert not set(name.split(".")) & (SAYS_NOTHING | IMPORTED_BY_OTHER_QUEUES)
