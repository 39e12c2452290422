"""The reference of the Tasks API, against the code."""

from django_simpletask3.contrib.tasks import SimpleTaskBackend, checks, policies, queues, results
from django_simpletask3.states import Status
from tests.docs.pages import reference, words
from tests.functions.framework import TaskResultStatus

PAGE = reference("tasks-api")


def column(title: str) -> list[str]:
    """What the table below the heading has rows for, as code."""
    section = PAGE.prose.split(f"# {title}\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [word for line in lines for word in words(line.split("|")[1])]


def test_options_and_fields_are_those_of_the_code() -> None:
    assert column("`OPTIONS`") == list(checks._NAMES)
    assert set(column("Fields")) == set(policies.NAMES)
    assert PAGE.row("BACKEND")[1].startswith(f'`"{queues.BACKEND_PATHS[0]}"`')


def test_what_is_supported_is_what_the_page_says() -> None:
    flags = [name for name in dir(SimpleTaskBackend) if name.startswith("supports_")]

    assert {name for name in words(PAGE.prose) if name.startswith("supports_")} == set(flags)
    assert all(getattr(SimpleTaskBackend, name) for name in flags)


def test_the_statuses_are_those_of_the_code() -> None:
    shown = {PAGE.row(str(status))[0].strip("`"): PAGE.row(str(status))[1]
             for status in TaskResultStatus}  # fmt: skip

    for status in Status:
        assert status.name in shown[results._STATUSES.get(status, "READY")].split(", ")


def test_the_signals_are_those_that_are_sent() -> None:
    assert column("Signals and log") == ["task_enqueued", "task_started", "task_finished"]
