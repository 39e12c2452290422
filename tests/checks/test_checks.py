"""``manage.py check`` reports each fault once, with an id and a hint."""

import re
from typing import Any

import pytest
from django.core import checks
from django.core.checks import CheckMessage

from django_simpletask3 import checks as own_checks
from django_simpletask3.conf.options import PREFIX, all_options
from django_simpletask3.exceptions import HIDDEN
from django_simpletask3.ledger.event import event_model_of
from django_simpletask3.queue import parse
from tests.conf.test_options import BAD
from tests.steps import TASK_MODELS, label_of, run_command
from tests.testapp.models import ByDefault, ByPath, Hiding, Invoice, Reminder

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.thorough,
]  # checks of JSON columns query the database

OPTIONS = {option.name: option for option in all_options()}


def messages_of_package() -> list[CheckMessage]:
    """The messages of the checks of this package, without those that Hiding is there for."""
    messages = (m for m in checks.run_checks() if m.obj is not Hiding)
    return [m for m in messages if str(m.id).startswith("django_simpletask3")]


def test_the_test_project_has_no_messages() -> None:
    assert messages_of_package() == []


@pytest.mark.parametrize("name", OPTIONS)
def test_a_bad_setting_is_one_error_with_an_id_and_a_hint(name: str, settings: Any) -> None:
    bad = BAD[name.removeprefix(PREFIX)][0]
    setattr(settings, name, bad)

    (error,) = messages_of_package()

    assert error.level == checks.ERROR
    assert error.id == own_checks.SETTING_IDS[name]
    shown = HIDDEN if OPTIONS[name].is_secret else bad
    assert error.msg == f"{name} is {shown!r}; expected {OPTIONS[name].parser.expected}."
    assert name in str(error.hint)
    assert repr(OPTIONS[name].default) in str(error.hint)


def test_no_two_settings_share_an_id() -> None:
    ids = [
        *own_checks.SETTING_IDS.values(),
        own_checks.URL_ID,
        own_checks.EXECUTOR_ID,
        own_checks.WORKER_NUMBER_ID,
    ]
    ids += [
        own_checks.EVENT_MODEL_ID,
        own_checks.CHANNEL_ID,
        own_checks.TIME_LIMIT_ID,
        own_checks.TRIES_ID,
    ]
    ids += [own_checks.LEASE_ID, own_checks.GRACE_ID, own_checks.REPORT_ID]

    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"django_simpletask3\.E\d{3}", check_id) for check_id in ids)


@pytest.mark.parametrize(
    "value",
    [
        "http://me:geheim@redis/0",
        "redis://:12#geheim@redis:6379/0",
        "me:geheim@redis",
        {"host": "redis", "password": "geheim"},
        ("redis", "geheim"),
        b"redis://:geheim@redis",
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", [f"{PREFIX}SIMQ_REDIS_URL", "SIMQ_REDIS_URL"])
def test_an_invalid_url_is_an_error_that_does_not_show_it(
    name: str, value: Any, settings: Any
) -> None:
    del settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL
    setattr(settings, name, value)

    (error,) = messages_of_package()
    status, _ = run_command("django-simpletask3-status")

    assert error.id == (
        own_checks.URL_ID
        if isinstance(value, str)
        else own_checks.SETTING_IDS[f"{PREFIX}SIMQ_REDIS_URL"]
    )
    assert "geheim" not in f"{error} {error.hint} {status}"
    assert "(not shown, it may contain a password)" in status


def test_the_hint_for_the_url_is_a_valid_url(settings: Any) -> None:
    hint = OPTIONS[f"{PREFIX}SIMQ_REDIS_URL"].hint

    (url,) = re.findall(r"'(.+?)'", hint)

    assert parse(url).scheme == "redis"


def test_an_executor_that_cannot_be_imported_is_named_with_the_cause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ByPath, "django_simpletask3_executor", "tests.testapp.absent.deliver")

    (error,) = messages_of_package()

    assert (error.id, error.obj) == (own_checks.EXECUTOR_ID, ByPath)
    assert "tests.testapp.absent.deliver" in error.msg
    assert "ModuleNotFoundError" in error.msg
    assert "NoneType" not in error.msg


def test_an_executor_that_is_no_function_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ByPath, "django_simpletask3_executor", "tests.testapp.scripts.UNUSUAL_VALUES"
    )

    (error,) = messages_of_package()

    assert error.id == own_checks.EXECUTOR_ID
    assert "not callable" in error.msg


def test_a_model_without_a_task_function_names_where_it_was_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.testapp import tasks

    monkeypatch.delattr(tasks, "ByDefaultExecutor")

    (error,) = messages_of_package()

    assert (error.id, error.obj) == (own_checks.EXECUTOR_ID, ByDefault)
    assert "tests.testapp.tasks.ByDefaultExecutor" in error.msg


@pytest.mark.parametrize("number", [0, -1, 1.5, "2", True])
def test_an_invalid_number_of_threads_is_an_error(
    number: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reminder, "django_simpletask3_worker_number", number)

    (error,) = messages_of_package()

    assert (error.id, error.obj) == (own_checks.WORKER_NUMBER_ID, Reminder)
    assert repr(number) in error.msg


def test_two_models_in_one_channel_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Invoice.get_event_channel()
    monkeypatch.setattr(Reminder, "django_simpletask3_event_queue_channel_template", channel)

    (error,) = messages_of_package()

    assert error.id == own_checks.CHANNEL_ID
    assert "testapp.Invoice" in error.msg
    assert "testapp.Reminder" in error.msg


@pytest.mark.parametrize("template", ["{unknown}", "{", "{0}", "{app_label:d}"])
def test_an_invalid_channel_template_is_an_error(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reminder, "django_simpletask3_event_queue_channel_template", template)

    (error,) = messages_of_package()

    assert (error.id, error.obj) == (own_checks.CHANNEL_ID, Reminder)


def test_events_that_are_not_unique_by_task_and_sequence_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_model_of(Reminder)._meta, "unique_together", ())

    (error,) = messages_of_package()

    assert (error.id, error.obj) == (own_checks.EVENT_MODEL_ID, Reminder)


@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
def test_every_kind_of_model_has_no_messages(model: Any) -> None:
    messages = own_checks.check_models([model._meta.app_config])

    assert [message for message in messages if message.obj is model] == []


CHANNEL = "django-simpletask3:testapp.invoice"


@pytest.mark.parametrize(
    ("values", "wrong", "named"),
    [
        pytest.param(
            {"SIMQ_RUNNING_TIMEOUT": 0.9}, own_checks.LEASE_ID, ["0.9 s", "0.5 s"], id="lease"
        ),
        pytest.param({"SHUTDOWN_GRACE": 301}, own_checks.GRACE_ID, ["301 s", "300 s"], id="grace"),
        pytest.param(
            {"SIMQ_RUNNING_TIMEOUT": 24},
            own_checks.GRACE_ID,
            ["25 s", "24 s"],
            id="short lease",
        ),
        pytest.param(
            {"SIMQ_WORKER_STATUS_EXPIRE": 19},
            own_checks.REPORT_ID,
            ["19 s", "10 s"],
            id="report",
        ),
        pytest.param(
            {"SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES": {CHANNEL: {"running_timeout": 20}}},
            own_checks.GRACE_ID,
            ["25 s", "20 s", CHANNEL],
            id="grace and a channel's lease",
        ),
        pytest.param(
            {"SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES": {CHANNEL: {"running_timeout": 0.5}}},
            own_checks.LEASE_ID,
            ["0.5 s", CHANNEL],
            id="a channel's lease",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_one_error(
    values: dict[str, Any], wrong: str, named: list[str], settings: Any
) -> None:
    for name, value in values.items():
        setattr(settings, PREFIX + name, value)

    (error,) = messages_of_package()

    assert (error.level, error.id) == (checks.ERROR, wrong)
    assert PREFIX in error.msg
    assert error.hint
    assert all(word in error.msg for word in named), error.msg


@pytest.mark.parametrize(
    "values",
    [
        {"SIMQ_RUNNING_TIMEOUT": 1, "SHUTDOWN_GRACE": 1},
        {"SHUTDOWN_GRACE": 300},
        {"SIMQ_WORKER_STATUS_EXPIRE": 20},
        {"SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES": {CHANNEL: {"action": "drop"}}},
    ],
    ids=str,
)
def test_settings_at_their_limits_have_no_messages(values: dict[str, Any], settings: Any) -> None:
    for name, value in values.items():
        setattr(settings, PREFIX + name, value)

    assert messages_of_package() == []


def test_a_policy_for_a_channel_of_no_model_is_a_warning(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES = {
        "testapp.invoice": {"action": "drop"}
    }

    (warning,) = messages_of_package()

    assert (warning.level, warning.id) == (checks.WARNING, own_checks.POLICY_ID)
    assert "'testapp.invoice'" in warning.msg
    assert CHANNEL in str(warning.hint)
