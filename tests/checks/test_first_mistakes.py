"""What newcomers write wrong is a message of ``check`` that names it, and no traceback."""

from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from django_simpletask3 import checks as own_checks
from django_simpletask3.checks.names import RESERVED_NAMES
from django_simpletask3.models import task as task_module
from tests.checks.test_checks import messages_of_package
from tests.projects import Project, sqlite
from tests.testapp.models import ByCallable, Hiding, Invoice

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]

CONFLICTS = {
    "event model after": """
class A(SimpleTask):
    def do_task(self):
        pass
class AEvent(models.Model):
    pass
""",
    "event model before": """
class AEvent(models.Model):
    pass
class A(SimpleTask):
    def do_task(self):
        pass
""",
    "column events": """
class A(SimpleTask):
    events = models.TextField()
    def do_task(self):
        pass
""",
    "no column": """
class A(SimpleTask):
    priority = 5
    def do_task(self):
        pass
""",
    "property": """
class A(SimpleTask):
    @property
    def status(self):
        return 20
    def do_task(self):
        pass
""",
    "composite key": """
class A(SimpleTask):
    pk = models.CompositePrimaryKey("x", "y")
    x = models.IntegerField()
    y = models.IntegerField()
    def do_task(self):
        pass
""",
    "related name": """
class A(SimpleTask):
    def do_task(self):
        pass
class B(models.Model):
    a = models.ForeignKey(A, models.CASCADE, related_name="do_task")
""",
    "column of a parent": """
class Occasion(models.Model):
    should_stop = models.BooleanField(default=False)
class A(SimpleTask, Occasion):
    def do_task(self):
        pass
""",
    "column get_task_id": """
class A(SimpleTask):
    get_task_id = models.TextField()
    def do_task(self):
        pass
""",
}
FOUND = {
    "event model after": ("E104", "AEvent is the name of its event model"),
    "event model before": ("E104", "AEvent is the name of its event model"),
    "column events": ("E112", "The column events hides SimpleTask.events"),
    "no column": ("E112", "The attribute priority replaces the column priority of SimpleTask"),
    "property": ("E112", "The attribute status replaces the column status of SimpleTask"),
    "composite key": ("E116", "cannot have a composite primary key"),
    "related name": ("E112", "related_name of app.B do_task hides SimpleTask.do_task()"),
    "column of a parent": ("E112", "The column of app.Occasion should_stop hides SimpleTask"),
    "column get_task_id": ("E112", "The column get_task_id hides SimpleTask.get_task_id()"),
}


@pytest.mark.once
@pytest.mark.parametrize("name", CONFLICTS)
def test_a_model_that_cannot_work_is_an_error_and_no_traceback(
    name: str, tmp_path: Path, redis_url: str
) -> None:
    project = Project(tmp_path, sqlite(tmp_path), redis_url, "checks")
    project.models(CONFLICTS[name])

    text = project.run_python("manage.py", "check").text

    check_id, message = FOUND[name]
    assert f"app.A: (django_simpletask3.{check_id})" in text
    assert message in text
    assert text.count("(django_simpletask3.") == 1
    assert "Traceback" not in text


def test_without_the_app_one_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module.apps, "is_installed", lambda name: False)

    (error,) = task_module.check_installation()

    assert error.id == task_module.INSTALLATION_ID
    assert "INSTALLED_APPS" in error.msg


ATTRIBUTES = {
    "django_simpletask3_max_retrys": "django_simpletask3_max_retries",
    "django_simpletask3_timelimit": "django_simpletask3_time_limit",
    "django_simpletask_retention": "django_simpletask3_retention",
    "DJANGO_SIMPLETASK3_EXECUTOR": "django_simpletask3_executor",
    "simpletask3_worker_number": "django_simpletask3_worker_number",
    "max_retries": "django_simpletask3_max_retries",
    "max_retrys": "django_simpletask3_max_retries",
    "time_limit": "django_simpletask3_time_limit",
    "retention": "django_simpletask3_retention",
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_with_a_similar_name_is_reported(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Invoice, name, 3, raising=False)

    found = [message for message in messages_of_package() if message.obj is Invoice]

    is_prefixed = "simpletask" in name.lower()
    (message,) = found
    assert message.id == (own_checks.ATTRIBUTE_ID if is_prefixed else own_checks.BARE_ATTRIBUTE_ID)
    assert name in message.msg
    assert ATTRIBUTES[name] in str(message.hint)


@pytest.mark.parametrize("name", ["note", "wait", "is_held", "reset", "after"])
def test_an_attribute_that_hides_a_method_is_a_warning(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Invoice, name, "x", raising=False)

    (warning,) = [message for message in messages_of_package() if message.obj is Invoice]

    assert warning.id == own_checks.HIDDEN_ID
    assert warning.msg in {
        f"The attribute {name} hides SimpleTask.{name}().",
        f"The attribute {name} hides SimpleTask.{name}.",
        f"The attribute {name} will hide SimpleTask.{name}(), a method of later versions.",
    }


def test_each_column_that_hides_a_method_or_attribute_is_a_warning() -> None:
    found = [message for message in run_checks() if message.obj is Hiding]

    assert {message.id for message in found} == {own_checks.HIDDEN_ID}
    assert {message.msg.split()[2] for message in found} == RESERVED_NAMES
    texts = {message.msg: message.hint for message in found}
    assert texts["The column note hides SimpleTask.note()."] == (
        "Rename it, or call SimpleTask.note(task)."
    )
    assert texts["The column is_held hides SimpleTask.is_held."] == "Rename it."


@pytest.mark.parametrize("name", ["retry_reason", "quota", "MAX_RETRIES", "_time_limit"])
def test_attributes_of_your_own_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invoice, name, 3, raising=False)

    assert messages_of_package() == []


def with_arguments(self: Any, a: Any, b: Any) -> None: ...
def with_keyword(self: Any, *, a: Any) -> None: ...
def without_self() -> None: ...
def generating(self: Any) -> Any:
    yield 1


async def generating_async(self: Any) -> Any:
    yield 1


def with_all(self: Any, worker: str, msg: Any, a: Any = None, **kwargs: Any) -> None: ...
async def awaited(self: Any, *, msg: Any) -> None: ...


@pytest.mark.parametrize(
    "function", [with_arguments, with_keyword, without_self, generating, generating_async]
)
@pytest.mark.parametrize("is_executor", [True, False])
def test_a_task_function_that_cannot_be_called_is_an_error(
    is_executor: bool, function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ByCallable if is_executor else Invoice
    name = "django_simpletask3_executor" if is_executor else "do_task"
    monkeypatch.setattr(model, name, staticmethod(function) if is_executor else function)

    (error,) = [message for message in messages_of_package() if message.obj is model]

    assert error.id == own_checks.SIGNATURE_ID


@pytest.mark.parametrize("function", [with_all, awaited, lambda self: None, print])
def test_a_task_function_that_can_be_called_is_none(
    function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Invoice, "do_task", function)

    assert messages_of_package() == []


@pytest.mark.parametrize("in_environment", [True, False])
def test_a_setting_with_a_similar_name_is_reported(
    in_environment: bool, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "DJANGO_SIMPLETASK3_SIMQ_POPTIMEOUT"
    if in_environment:
        monkeypatch.setenv(name, "secret")
    else:
        setattr(settings, name, "secret")

    (warning,) = messages_of_package()

    assert warning.id == own_checks.SETTING_ID
    assert warning.hint == "Did you mean DJANGO_SIMPLETASK3_SIMQ_POP_TIMEOUT?"
    assert "secret" not in f"{warning}"
