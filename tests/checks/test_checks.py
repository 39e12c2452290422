"""What ``manage.py check`` finds: each fault once, with an id and a hint."""

import re
from typing import Any

import pytest
from django.core import checks
from django.core.checks import CheckMessage

from django_simpletask3 import checks as own
from django_simpletask3.conf.options import PREFIX, all_options
from django_simpletask3.ledger.event import event_model_of
from django_simpletask3.queue import parse
from tests.conf.test_options import BAD
from tests.steps import TASK_MODELS, label_of
from tests.testapp.models import ByDefault, ByPath, Invoice, Reminder

pytestmark = pytest.mark.django_db  # checks of JSON columns ask the database

OPTIONS = {option.name: option for option in all_options()}


def found() -> list[CheckMessage]:
    """What the checks of this package find."""
    return [one for one in checks.run_checks() if str(one.id).startswith("django_simpletask3")]


def test_the_test_project_is_sound() -> None:
    assert found() == []


@pytest.mark.parametrize("name", OPTIONS)
def test_a_bad_setting_is_one_error_with_an_id_and_a_hint(name: str, settings: Any) -> None:
    bad = BAD[name.removeprefix(PREFIX)][0]
    setattr(settings, name, bad)

    (error,) = found()

    assert error.level == checks.ERROR
    assert error.id == own.SETTING_IDS[name]
    assert error.msg == f"{name} is {bad!r}; expected {OPTIONS[name].parser.expected}."
    assert name in str(error.hint)
    assert repr(OPTIONS[name].default) in str(error.hint)


def test_no_two_settings_share_an_id() -> None:
    ids = [*own.SETTING_IDS.values(), own.URL_ID, own.EXECUTOR_ID, own.WORKER_NUMBER_ID]
    ids += [own.EVENT_MODEL_ID, own.CHANNEL_ID, own.TIME_LIMIT_ID, own.TRIES_ID]
    ids += [own.LEASE_ID, own.GRACE_ID, own.REPORT_ID]

    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"django_simpletask3\.E\d{3}", one) for one in ids)


def test_a_url_that_leads_nowhere_is_an_error_that_hides_its_password(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "http://me:secret@redis/0"

    (error,) = found()

    assert error.id == own.URL_ID
    assert "secret" not in f"{error.msg} {error.hint}"


def test_a_hint_for_the_url_is_a_url_that_can_be_used(settings: Any) -> None:
    hint = OPTIONS[f"{PREFIX}SIMQ_REDIS_URL"].hint

    (url,) = re.findall(r"'(.+?)'", hint)

    assert parse(url).scheme == "redis"


def test_an_executor_that_cannot_be_imported_is_named_with_the_cause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ByPath, "django_simpletask3_executor", "tests.testapp.absent.deliver")

    (error,) = found()

    assert (error.id, error.obj) == (own.EXECUTOR_ID, ByPath)
    assert "tests.testapp.absent.deliver" in error.msg
    assert "ModuleNotFoundError" in error.msg
    assert "NoneType" not in error.msg


def test_an_executor_that_is_no_function_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ByPath, "django_simpletask3_executor", "tests.testapp.scripts.UNUSUAL_VALUES"
    )

    (error,) = found()

    assert error.id == own.EXECUTOR_ID
    assert "not callable" in error.msg


def test_a_model_without_body_and_executor_is_told_where_one_was_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.testapp import tasks

    monkeypatch.delattr(tasks, "ByDefaultExecutor")

    (error,) = found()

    assert (error.id, error.obj) == (own.EXECUTOR_ID, ByDefault)
    assert "tests.testapp.tasks.ByDefaultExecutor" in error.msg


@pytest.mark.parametrize("number", [0, -1, 1.5, "2", True])
def test_a_number_of_threads_that_cannot_be_is_an_error(
    number: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reminder, "django_simpletask3_worker_number", number)

    (error,) = found()

    assert (error.id, error.obj) == (own.WORKER_NUMBER_ID, Reminder)
    assert repr(number) in error.msg


def test_two_models_in_one_channel_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Invoice.get_event_channel()
    monkeypatch.setattr(Reminder, "django_simpletask3_event_queue_channel_template", channel)

    (error,) = found()

    assert error.id == own.CHANNEL_ID
    assert "testapp.Invoice" in error.msg
    assert "testapp.Reminder" in error.msg


@pytest.mark.parametrize("template", ["{nobody}", "{", "{0}", "{app_label:d}"])
def test_a_channel_template_of_a_model_that_cannot_be_filled_in_is_an_error(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reminder, "django_simpletask3_event_queue_channel_template", template)

    (error,) = found()

    assert (error.id, error.obj) == (own.CHANNEL_ID, Reminder)


def test_events_that_are_not_unique_by_task_and_sequence_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_model_of(Reminder)._meta, "unique_together", ())

    (error,) = found()

    assert (error.id, error.obj) == (own.EVENT_MODEL_ID, Reminder)


@pytest.mark.parametrize("model", TASK_MODELS, ids=label_of)
def test_every_shape_of_model_is_sound(model: Any) -> None:
    found = [one for one in own.check_models([model._meta.app_config]) if one.obj is model]

    assert found == []


CHANNEL = "django-simpletask3:testapp.invoice"


@pytest.mark.parametrize(
    ("values", "wrong", "named"),
    [
        pytest.param({"SIMQ_RUNNING_TIMEOUT": 0.9}, own.LEASE_ID, ["0.9 s", "0.5 s"], id="lease"),
        pytest.param({"SHUTDOWN_GRACE": 301}, own.GRACE_ID, ["301 s", "300 s"], id="grace"),
        pytest.param(
            {"SIMQ_RUNNING_TIMEOUT": 24}, own.GRACE_ID, ["25 s", "24 s"], id="short lease"
        ),
        pytest.param(
            {"SIMQ_WORKER_STATUS_EXPIRE": 19}, own.REPORT_ID, ["19 s", "10 s"], id="report"
        ),
        pytest.param(
            {"SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES": {CHANNEL: {"running_timeout": 20}}},
            own.GRACE_ID,
            ["25 s", "20 s", CHANNEL],
            id="grace and a channel's lease",
        ),
        pytest.param(
            {"SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES": {CHANNEL: {"running_timeout": 0.5}}},
            own.LEASE_ID,
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

    (error,) = found()

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
def test_settings_that_just_fit_are_sound(values: dict[str, Any], settings: Any) -> None:
    for name, value in values.items():
        setattr(settings, PREFIX + name, value)

    assert found() == []


def test_a_policy_for_a_channel_of_no_model_is_a_warning(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES = {
        "testapp.invoice": {"action": "drop"}
    }

    (warning,) = found()

    assert (warning.level, warning.id) == (checks.WARNING, own.POLICY_ID)
    assert "'testapp.invoice'" in warning.msg
    assert CHANNEL in str(warning.hint)
