"""Every option stands in both READMEs and on its page, as the code has it."""

import pytest

from django_simpletask3.checks import SETTING_IDS
from django_simpletask3.conf.options import Option, all_options
from django_simpletask3.conf.parsers import FLAG, PATHS
from tests.docs.pages import README, README_ZH, Page, reference, words

SETTINGS = reference("settings")
TABLES = [README, README_ZH, SETTINGS]
KINDS = {
    "a positive number of seconds, or a timedelta": {"seconds", "whole seconds"},
    "a whole number, 1 or more": {"count"},
    "a text that is not empty": {"text"},
    '"recover" or "drop"': {"action"},
    PATHS.expected: {"paths"},
    FLAG.expected: {"flag"},
}


def shown(default: object) -> str:
    """A default as the tables write it: 300, not 300.0; texts in double quotes."""
    if isinstance(default, str):
        return f'"{default}"'
    if isinstance(default, float) and default.is_integer():
        return str(int(default))
    return repr(default)


@pytest.mark.parametrize("page", TABLES, ids=str)
@pytest.mark.parametrize("option", all_options(), ids=lambda option: option.name)
def test_an_option_is_documented_as_it_is(page: Page, option: "Option[object]") -> None:
    _, default, _, check, aliases, *_ = page.row(option.name)

    assert words(aliases) == list(option.aliases)
    assert words(default) == [shown(option.default)]
    assert f"django_simpletask3.{check}" == SETTING_IDS[option.name]


@pytest.mark.parametrize("page", TABLES, ids=str)
def test_no_option_is_documented_that_does_not_exist(page: Page) -> None:
    documented = {word for word in page.named() if word.startswith("DJANGO_SIMPLETASK3_")}

    assert documented == {option.name for option in all_options()}


@pytest.mark.parametrize("option", all_options(), ids=lambda option: option.name)
def test_the_kind_of_an_option_is_reported(option: "Option[object]") -> None:
    kind = SETTINGS.row(option.name)[5]

    assert kind in KINDS.get(option.parser.expected, {"template", "policies"})


@pytest.mark.parametrize(
    "kind", ["seconds", "whole seconds", "count", "text", "action", "policies", "paths", "flag"]
)
def test_every_kind_is_explained(kind: str) -> None:
    assert kind in {row[0] for row in SETTINGS.rows}
