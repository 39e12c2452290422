"""Whatever has a name in the code has a row in the documentation, and the other way round."""

import dataclasses
import inspect
import re
from argparse import Action
from importlib import import_module

import pytest
from django.core.management.base import BaseCommand
from django.dispatch import Signal

from django_simpletask3 import admin, checks, exceptions, signals, testing
from django_simpletask3.checks.names import RESERVED_NAMES
from django_simpletask3.contrib import pytest_plugin
from django_simpletask3.contrib.tasks import backend as tasks_backend
from django_simpletask3.contrib.tasks import checks as tasks_checks
from django_simpletask3.ledger.projection import PROJECTED
from django_simpletask3.models import SimpleTask, TaskEvent, permissions
from django_simpletask3.models.explanation.sentences import Cause
from django_simpletask3.models.queryset import TaskQuerySet
from django_simpletask3.running.methods import RunningMethods
from django_simpletask3.states import AUDIT_ONLY, TRANSITIONS, EventKind, Status
from django_simpletask3.worker.maintenance import jobs
from tests.docs.pages import DOCS, README, README_ZH, Page, reference, words
from tests.project.sources import PACKAGE, ROOT
from tests.project.test_layering import RANKS
from tests.testapp.models import Invoice

COMMAND = "django-simpletask3-server"
EXIT_CODES = {"0", "1", "2", "3"}
MODULES = Page(DOCS / "discussions" / "modules.md")


def test_every_signal_is_in_the_table() -> None:
    existing = {name for name, value in vars(signals).items() if isinstance(value, Signal)}

    page = reference("signals")

    assert {row for row in page.named() if page.row(row)[3] == "`task`, `event`"} == existing


@pytest.mark.parametrize("kind", list(EventKind))
def test_every_kind_of_event_is_explained(kind: EventKind) -> None:
    sources = {source for source, found in TRANSITIONS if found is kind}
    targets = {TRANSITIONS[source, kind] for source in sources}

    _, source, target, *_ = reference("events").row(kind)

    assert source == reported(sources)
    assert target == ("unchanged" if kind in AUDIT_ONLY else reported(targets))


def reported(statuses: set[Status | None]) -> str:
    if statuses == {None}:
        return "no row"
    if statuses == set(Status):
        return "any"
    return ", ".join(status.name for status in Status if status in statuses)


@pytest.mark.parametrize("signal", sorted(map(str, signals.SIGNALS)))
def test_every_signal_says_which_event_it_follows(signal: str) -> None:
    senders = [
        name
        for name, value in vars(signals).items()
        if isinstance(value, Signal) and value in signals.SIGNALS[EventKind(signal)]
    ]

    for name in senders:
        assert f"`{signal}`" in reference("signals").row(name)[1]


@pytest.mark.parametrize("status", list(Status), ids=lambda status: status.name)
def test_every_status_is_explained(status: Status) -> None:
    assert reference("tasks").row(status.name)[1] == str(int(status))


@pytest.mark.parametrize("page", [README, README_ZH], ids=str)
def test_the_diagram_is_the_state_machine(page: Page) -> None:
    (diagram,) = page.blocks("mermaid")
    names = {"[*]": None} | {status.name: status for status in Status}

    arrows = re.findall(r"(\S+) --> (\S+): (\w+)", diagram)

    assert {(names[a], EventKind(kind), names[b]) for a, b, kind in arrows} == {
        (source, kind, target)
        for (source, kind), target in TRANSITIONS.items()
        if kind not in AUDIT_ONLY and kind is not EventKind.DELETE
    }


@pytest.mark.parametrize("model", [SimpleTask, TaskEvent], ids=lambda model: model.__name__)
def test_every_column_is_explained(model: type) -> None:
    page = reference("tasks" if model is SimpleTask else "events")
    columns = {field.name for field in model._meta.fields} - {"id"}

    assert columns <= page.named()


def test_the_columns_of_the_state_machine_are_distinguished() -> None:
    page = reference("tasks")
    table = page.text.split("**Projected**")[1].split("**Operational**")[0]

    rows = [line for line in table.splitlines() if line.startswith("| `")]

    assert {words(row)[0] for row in rows} == set(PROJECTED)


def test_every_class_attribute_is_explained() -> None:
    attributes = {name for name in dir(SimpleTask) if name.startswith("django_simpletask3_")}
    page = reference("tasks")

    assert attributes == {name for name in page.named() if name.startswith("django_simpletask3_")}
    for name in attributes:
        assert words(page.row(name)[1]) == [repr(getattr(SimpleTask, name))]


def public(cls: type) -> set[str]:
    """The methods and properties that ``cls`` itself adds for its users."""
    return {
        name
        for name, value in vars(cls).items()
        if not name.startswith(("_", "django_simpletask3_"))
        and (inspect.isfunction(value) or isinstance(value, property | classmethod))
    }


def test_every_method_is_explained() -> None:
    named = {word.partition("(")[0] for word in reference("tasks").named()}
    attributes = {"do_task"}

    assert (public(SimpleTask) | public(RunningMethods)) - attributes <= named


def test_every_helper_for_tests_is_explained() -> None:
    page = reference("testing")
    named = {word.partition("(")[0] for row in page.rows for word in words(row[0])}
    fixtures = {
        name for name, value in vars(pytest_plugin).items() if hasattr(value, "_fixture_function")
    }
    lists = {field.name for field in dataclasses.fields(testing.RunResult)}

    internal = {"close", "earliest", "tell"}
    methods = public(testing.TaskWorker) | public(testing.TaskClock)

    assert named == set(testing.__all__) | fixtures | lists | methods - internal


def test_every_reserved_name_is_listed() -> None:
    page = reference("tasks")
    section = page.prose.partition("## Reserved names")[2].partition("\n## ")[0]
    listed = {word.partition("(")[0] for word in page.named()} | set(words(section))

    assert listed >= RESERVED_NAMES


def test_every_queryset_word_is_explained() -> None:
    named = {word.strip(".").partition("(")[0] for word in reference("tasks").named()}
    djangos = {"update", "bulk_update", "update_or_create"}
    internal = {"update_managed", "update_managed_skip_locked"}

    assert public(TaskQuerySet) - djangos - internal <= named


def test_every_exception_is_named() -> None:
    tree = {
        name
        for name, value in vars(exceptions).items()
        if inspect.isclass(value) and issubclass(value, exceptions.SimpleTaskError)
    }

    assert tree <= set(words(reference("tasks").prose))


def own_options() -> list[Action]:
    """The options that the command adds to those of every command."""
    command = import_module(f"{PACKAGE}.management.commands.{COMMAND}").Command()
    common = {
        option
        for action in BaseCommand().create_parser("manage.py", "x")._actions
        for option in action.option_strings
    }
    actions = command.create_parser("manage.py", COMMAND)._actions
    return [action for action in actions if not common & set(action.option_strings)]


@pytest.mark.parametrize("page", [README, README_ZH, reference("command")], ids=str)
@pytest.mark.parametrize("option", own_options(), ids=lambda action: action.option_strings[-1])
def test_every_option_of_the_command_is_documented(page: Page, option: Action) -> None:
    name = option.option_strings[-1]

    assert any(word.split()[0] == name for word in page.named())


def test_the_command_has_a_page() -> None:
    folder = ROOT / PACKAGE / "management" / "commands"
    commands = {path.stem for path in folder.glob("*.py")} - {"__init__"}

    for command in commands:
        assert f"manage.py {command}" in reference("command").text


@pytest.mark.parametrize("page", [README, README_ZH, reference("command")], ids=str)
def test_the_exit_codes_are_reported(page: Page) -> None:
    assert {row[0] for row in page.rows if row[0].isdigit()} == EXIT_CODES


def test_every_maintenance_job_is_explained() -> None:
    section = reference("command").text.split("### Maintenance jobs")[1].split("\n### ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]

    assert {name for row in rows for name in words(row)} == set(jobs.shared_schedule().read())


def test_every_cause_is_explained() -> None:
    section = reference("tasks").text.split("## Why a task does not run")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]

    assert [name for row in rows for name in words(row)] == [*map(str, Cause)]


def test_every_action_of_the_admin_is_explained() -> None:
    actions = {name for name in admin.__all__ if name.startswith("django_simpletask3_")}

    assert {n for n in reference("admin").named() if n.startswith("django_simpletask3_")} == actions


@pytest.mark.parametrize("action", [permissions.EXECUTE, permissions.RESET])
def test_every_permission_is_explained(action: str) -> None:
    page = reference("admin")

    for codename in permissions.codenames(action, Invoice):
        assert f"`{codename}`".replace("testapp.", "app.").replace("invoice", "task1") in page.text


CHECK_IDS = [*vars(checks).items(), *vars(tasks_backend).items(), *vars(tasks_checks).items()]


def test_every_check_id_is_explained() -> None:
    ids = {
        *checks.SETTING_IDS.values(),
        *(value for name, value in CHECK_IDS if name.endswith("_ID")),
    }

    assert {word for word in reference("checks").named() if word.startswith(PACKAGE)} == ids


def test_no_two_checks_share_an_id() -> None:
    ids = [value for name, value in CHECK_IDS if name.endswith("_ID")]
    ids += checks.SETTING_IDS.values()

    assert sorted(set(ids)) == sorted(ids)


@pytest.mark.parametrize("name", sorted(checks.SETTING_IDS))
def test_the_check_id_of_a_setting_is_the_right_one(name: str) -> None:
    assert words(reference("checks").row(checks.SETTING_IDS[name])[1])[0] == name


def test_every_module_says_where_it_belongs() -> None:
    names = {path.stem for path in (ROOT / PACKAGE).glob("*.py")} - {"__init__"}
    folders = {f"{path.parent.name}/" for path in (ROOT / PACKAGE).glob("*/__init__.py")}

    assert names | folders <= set(words(MODULES.text))


def test_the_ranks_are_those_of_the_imports() -> None:
    documented: list[set[str]] = []
    for rank, name, _ in (row for row in MODULES.rows if len(row) == 3 and words(row[1])):
        if rank:
            documented.append(set())
        documented[-1].add(words(name)[0].strip("/"))

    assert documented[::-1] == RANKS


def test_the_modules_on_the_way_of_a_task_exist() -> None:
    paths = {word for word in words(MODULES.text) if re.fullmatch(r"[a-z]+/[a-z_/]+", word)}

    for path in paths:
        module = ROOT / (path if path.startswith("tests/") else f"{PACKAGE}/{path}")
        assert module.is_dir() or module.with_suffix(".py").exists(), path


def test_the_stream_of_a_task_is_called_as_documented() -> None:
    assert Invoice.event_model.__name__ == "InvoiceEvent"
