"""Every setting: its default, its names and their order, its values."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from django_simpletask3.conf.options import (
    PREFIX,
    Option,
    all_options,
    clear_cached_values,
    options,
)
from django_simpletask3.conf.parsers import Parser
from django_simpletask3.exceptions import InvalidSetting
from tests.conftest import SetVariable

OPTIONS = all_options()
#: Default, aliases, and a good value as a person writes it into the environment.
SPECIFIED: dict[str, tuple[Any, tuple[str, ...], str, Any]] = {
    "SIMQ_REDIS_URL": (
        "redis://localhost:6379/0",
        (PREFIX + "SIMQ_REDIS", "SIMQ_REDIS_URL", "SIMQ_REDIS", "REDIS_URL", "REDIS"),
        "redis://elsewhere:6380/2",
        "redis://elsewhere:6380/2",
    ),
    "SIMQ_POP_TIMEOUT": (5, ("SIMQ_POP_TIMEOUT",), "0.5", 0.5),
    "DEFAULT_SIMQ_WORKER_NUMBER": (5, ("DEFAULT_SIMQ_WORKER_NUMBER",), "12", 12),
    "SIMQ_TIMEOUT_TASK_RECOVERY_INTERVAL": (
        120,
        ("SIMQ_TIMEOUT_TASK_RECOVERY_INTERVAL",),
        "3",
        3.0,
    ),
    "SIMQ_DEFAULT_RUNNING_TIMEOUT_ACTION": (
        "recover",
        ("SIMQ_DEFAULT_RUNNING_TIMEOUT_ACTION",),
        "drop",
        "drop",
    ),
    "SIMQ_PREFIX": ("simq", ("SIMQ_PREFIX",), "shop", "shop"),
    "SIMQ_ACK_EVENT_EXPIRE": (
        86400,
        (PREFIX + "ACK_EVENT_EXPIRE", "SIMQ_ACK_EVENT_EXPIRE"),
        "60",
        60,
    ),
    "SIMQ_DONE_ITEM_EXPIRE": (604800, ("SIMQ_DONE_ITEM_EXPIRE",), "60", 60),
    "SIMQ_WORKER_STATUS_EXPIRE": (300, ("SIMQ_WORKER_STATUS_EXPIRE",), "60", 60),
    "SIMQ_RUNNING_TIMEOUT": (300, ("SIMQ_RUNNING_TIMEOUT",), "1.5", 1.5),
    "SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES": (
        None,
        ("SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES",),
        '{"mails": {"running_timeout": 10, "action": "drop"}}',
        {"mails": {"running_timeout": 10.0, "action": "drop"}},
    ),
    "EVENT_QUEUE_CHANNEL_TEMPLATE": (
        "django-simpletask3:{app_label}.{model_name}",
        (),
        "q:{app_label}:{model_name}",
        "q:{app_label}:{model_name}",
    ),
    "TASK_ID_TEMPLATE": (
        "django-simpletask3:{app_label}.{model_name}:{id}",
        (),
        "{app_label}/{model_name}/{id:08}",
        "{app_label}/{model_name}/{id:08}",
    ),
    "RESULT_SIZE_LIMIT": (1048576, (), "1000", 1000),
    "SHUTDOWN_GRACE": (25, (), "2.5", 2.5),
    "ADMIN_REASON_REQUIRED": (False, (), "yes", True),
    "MIDDLEWARE": ((), (), "shop.tracing.trace, shop.x", ("shop.tracing.trace", "shop.x")),
}
_TIMES = [0, -1, "0", "soon", "", None, True, math.nan, math.inf, "nan", "1e999", 10**400, [], {}]
_COUNTS = [*_TIMES, 1.5, "1.5", 0.5]
_TEXTS = ["", "  ", None, 7, [], {"host": "x"}, b"x"]
_TEMPLATES = [*_TEXTS, "fixed", "{app_label}", "{app_label.x}{model_name}{id}", "{", "}{", "{}{0}"]
BAD: dict[str, list[Any]] = {
    "SIMQ_REDIS_URL": _TEXTS,
    "SIMQ_POP_TIMEOUT": _TIMES,
    "DEFAULT_SIMQ_WORKER_NUMBER": _COUNTS,
    "SIMQ_TIMEOUT_TASK_RECOVERY_INTERVAL": _TIMES,
    "SIMQ_DEFAULT_RUNNING_TIMEOUT_ACTION": ["", "retry", None, 1, [], "DROP"],
    "SIMQ_PREFIX": _TEXTS,
    "SIMQ_ACK_EVENT_EXPIRE": _TIMES,
    "SIMQ_DONE_ITEM_EXPIRE": _TIMES,
    "SIMQ_WORKER_STATUS_EXPIRE": _TIMES,
    "SIMQ_RUNNING_TIMEOUT": _TIMES,
    "SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES": [
        "{",
        "[1]",
        "7",
        7,
        [1],
        "text",
        {"mails": 10},
        {"mails": {"running_timeout": 0}},
        {"mails": {"action": "retry"}},
        {"mails": {"actoin": "drop"}},
    ],
    "EVENT_QUEUE_CHANNEL_TEMPLATE": [
        *_TEMPLATES,
        "{app_label}{model_name}{id}",
        "{app_label:d}{model_name}",
    ],
    "TASK_ID_TEMPLATE": [
        *_TEMPLATES,
        "{app_label}{model_name}",
        "{app_label}{model_name}{pk}",
        "{app_label}{model_name:d}{id}",
    ],
    "RESULT_SIZE_LIMIT": _COUNTS,
    "SHUTDOWN_GRACE": _TIMES,
    "ADMIN_REASON_REQUIRED": ["", "perhaps", 1, 0, None, []],
    "MIDDLEWARE": [7, True, {"a.b": 1}, "a.b,", [""], [7], ["a.b", None], [["a.b"]]],
}
EACH_BAD = [
    pytest.param(name, value, id=f"{name}={value!r:.40}")
    for name, values in BAD.items()
    for value in values
]
EACH_BAD_TEXT = [case for case in EACH_BAD if isinstance(case.values[1], str)]


def name_of(option: Option[Any]) -> str:
    return option.name


def value_of(option: Option[Any]) -> Any:
    return getattr(options, option.name.removeprefix(PREFIX).lower())


def specified(option: Option[Any]) -> tuple[Any, tuple[str, ...], str, Any]:
    return SPECIFIED[option.name.removeprefix(PREFIX)]


@pytest.fixture(autouse=True)
def no_settings(settings: Any) -> Iterator[None]:
    """Nothing of the test project's own settings."""
    for option in OPTIONS:
        for name in option.names:
            if hasattr(settings, name):
                delattr(settings, name)
    clear_cached_values()  # a deletion sends no signal
    yield
    clear_cached_values()


def test_the_settings_are_those_specified() -> None:
    assert {option.name.removeprefix(PREFIX) for option in OPTIONS} == set(SPECIFIED) == set(BAD)


@pytest.mark.parametrize("option", OPTIONS, ids=name_of)
def test_an_option_that_is_not_set_has_its_default(option: Option[Any]) -> None:
    default, aliases, _, _ = specified(option)

    assert option.default == default
    assert value_of(option) == ({} if default is None else default)
    assert option.aliases == aliases
    assert option.summary


@pytest.mark.parametrize("option", OPTIONS, ids=name_of)
def test_a_text_in_the_environment_becomes_the_value_it_describes(
    option: Option[Any], set_variable: SetVariable
) -> None:
    default, _, text, value = specified(option)

    set_variable(option.name, text)

    assert value_of(option) == value != default
    assert type(value_of(option)) is type(value)


@pytest.mark.parametrize("option", OPTIONS, ids=name_of)
def test_a_value_in_the_settings_counts_at_once_and_no_longer(option: Option[Any]) -> None:
    before, value = value_of(option), specified(option)[3]

    with override_settings(**{option.name: value}):
        during = value_of(option)

    assert (during, value_of(option)) == (value, before)
    assert value != before


@pytest.mark.parametrize("option", OPTIONS, ids=name_of)
def test_the_environment_comes_first_and_then_the_main_name(
    option: Option[Any], set_variable: SetVariable, settings: Any
) -> None:
    order = [("environment", name) for name in option.names]
    order += [("settings", name) for name in option.names]

    found = [(None, option.find_raw_value()[0])]
    for place, name in reversed(order):
        if place == "environment":
            set_variable(name, "1")
        else:
            setattr(settings, name, "2")
        found.append((option.find_raw_value()[1], option.find_raw_value()[0]))

    expected = [({"environment": "1", "settings": "2"}[p], name) for p, name in reversed(order)]
    assert found == [(None, option.name), *expected]


def test_a_setting_is_read_once_until_a_setting_changes(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    before = options.simq_prefix

    monkeypatch.setenv("SIMQ_PREFIX", "shop")

    assert options.simq_prefix == before
    settings.UNRELATED = True
    assert options.simq_prefix == "shop"
    monkeypatch.undo()
    clear_cached_values()


def test_a_bad_value_is_refused_each_time(settings: Any) -> None:
    settings.SIMQ_PREFIX = ""

    for _ in range(2):
        with pytest.raises(InvalidSetting):
            _ = options.simq_prefix


def test_a_value_that_changes_while_it_is_read_is_read_again(settings: Any) -> None:
    def parse(raw: Any) -> Any:
        settings.SIMQ_PREFIX = "second"
        return raw

    option = Option("", Parser("a text", parse), aliases=["SIMQ_PREFIX"])
    option.__set_name__(object, "simq_prefix")
    settings.SIMQ_PREFIX = "first"

    assert [option.value(), option.value()] == ["first", "second"]


def test_an_alias_in_the_environment_beats_the_main_name_in_the_settings(
    set_variable: SetVariable, settings: Any
) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://settings"

    set_variable("REDIS", "redis://environment")

    assert options.simq_redis_url == "redis://environment"


def test_an_empty_text_in_the_environment_is_a_value_and_a_bad_one(
    set_variable: SetVariable, settings: Any
) -> None:
    settings.SIMQ_PREFIX = "shop"

    set_variable("SIMQ_PREFIX", "")

    with pytest.raises(InvalidSetting, match=r"^SIMQ_PREFIX is ''"):
        _ = options.simq_prefix


@pytest.mark.parametrize("name", ["SIMQ_ACK_EVENT_EXPIRE", "ACK_EVENT_EXPIRE"])
def test_both_spellings_of_ack_event_expire_are_read(name: str, set_variable: SetVariable) -> None:
    set_variable(PREFIX + name, "77")

    assert options.simq_ack_event_expire == 77


@pytest.mark.parametrize(("name", "value"), EACH_BAD)
def test_a_bad_value_in_the_settings_is_named_with_what_was_expected(
    name: str, value: Any, settings: Any
) -> None:
    setattr(settings, PREFIX + name, value)

    with pytest.raises(InvalidSetting) as refused:
        getattr(options, name.lower())

    assert refused.value.name == PREFIX + name
    assert refused.value.expected in str(refused.value)


@pytest.mark.parametrize(("name", "value"), EACH_BAD_TEXT)
def test_a_bad_text_in_the_environment_is_named_where_it_was_found(
    name: str, value: str, set_variable: SetVariable
) -> None:
    option = next(option for option in OPTIONS if option.name == PREFIX + name)
    where = option.names[-1]

    set_variable(where, value)

    with pytest.raises(InvalidSetting) as refused:
        option.value()
    assert refused.value.name == where


@pytest.mark.parametrize("empty", [None, {}, "", "{}", "null"])
def test_no_policies_are_no_policies(empty: Any, settings: Any) -> None:
    settings.SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES = empty

    assert options.simq_running_timeout_handler_policies == {}


def test_policies_are_the_same_from_the_environment_and_the_settings(
    settings: Any, set_variable: SetVariable
) -> None:
    policies = {"a": {"running_timeout": 10}, "b": {"action": "drop"}}
    settings.SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES = policies
    from_settings = options.simq_running_timeout_handler_policies

    set_variable("SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES", json.dumps(policies))

    assert options.simq_running_timeout_handler_policies == from_settings


def test_redis_is_never_asked_to_expire_something_in_no_seconds(settings: Any) -> None:
    settings.SIMQ_DONE_ITEM_EXPIRE = 0.2

    assert options.simq_done_item_expire == 1


@pytest.mark.parametrize("option", OPTIONS, ids=name_of)
def test_the_class_gives_the_option_and_an_instance_its_value(option: Option[Any]) -> None:
    attribute = option.name.removeprefix(PREFIX).lower()

    assert getattr(type(options), attribute) is option
