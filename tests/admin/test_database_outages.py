"""A database that does not answer: the pages say so, and show what the others hold."""

import time

import pytest
from django.urls import reverse

from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import text, url
from tests.steps import bring_to
from tests.testapp.models import Invoice

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("other_is_away"),
]

AWAY = "The database &#x27;other&#x27; does not answer"
PAGES = ("changelist", "recoveries")


def dashboard(client, page: str = "changelist"):
    return client.get(reverse(f"admin:django_simpletask3_dashboard_{page}"))


@pytest.fixture
def lost_task(transactional_db: None) -> Invoice:
    task = bring_to(Invoice.objects.create(), Status.RUNNING)
    apply(task, EventKind.RECOVER, reason="worker_died")
    return bring_to(task, Status.SUCCESS)


def test_the_dashboard_shows_what_the_others_hold(superuser, lost_task) -> None:
    page = dashboard(superuser)

    assert AWAY in text(page)
    assert page.context["attention"].entries[0].error
    assert [count["number"] for count in page.context["recovery_counts"]] == ["1"]
    assert page.context["charts"][0].bars


def test_the_recoveries_show_what_the_others_hold(superuser, lost_task) -> None:
    page = dashboard(superuser, "recoveries")

    assert f"{AWAY}." in text(page)
    assert ["ended" in recovery["why"] for recovery in page.context["recoveries"]] == [True]


def test_an_export_ends_with_what_it_could_not_read(superuser, lost_task) -> None:
    file = b"".join(dashboard(superuser, "export").streaming_content).decode()

    assert "worker_died" in file.splitlines()[1]
    assert ",other," in file.splitlines()[-1]
    assert "This database does not answer." in file.splitlines()[-1]


@pytest.mark.parametrize("page", ["change", "timeline"])
def test_the_page_of_a_task_needs_its_own_database_only(superuser, lost_task, page) -> None:
    response = superuser.get(url(lost_task, page))

    assert response.status_code == 200
    assert "does not answer" in response.content.decode()
    assert "hush-hush" not in response.content.decode()


@pytest.fixture
def tables_are_listed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five minutes later: it is no longer remembered which database has which table."""
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 300)


@pytest.mark.usefixtures("tables_are_listed_again")
@pytest.mark.parametrize("page", PAGES)
def test_a_database_that_might_hold_something_is_named_as_well(watcher, page) -> None:
    page_response = dashboard(watcher("view_reminder"), page)

    assert AWAY in text(page_response)


@pytest.mark.usefixtures("tables_are_listed_again")
def test_an_export_names_a_database_that_might_hold_something_too(watcher) -> None:
    file = dashboard(watcher("view_reminder"), "export")

    assert b",other," in b"".join(file.streaming_content).splitlines()[-1]


@pytest.mark.parametrize("page", PAGES)
def test_viewers_do_not_see_the_error_of_a_database(watcher, page) -> None:
    page_response = dashboard(watcher("view_invoice", "view_elsewhere"), page)

    assert AWAY in text(page_response)
    assert "unable to open" not in text(page_response)
    assert "hush-hush" not in text(page_response)
