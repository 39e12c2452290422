"""What a list polls: numbers, the cells of its rows, and how many tasks are new."""

import pytest
from django.contrib.admin.sites import site
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_simpletask3.admin import SimpleTaskAdmin
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import url
from tests.steps import bring_to
from tests.testapp.models import Invoice, TextKeyed


def poll(client, *tasks, query: str = "", model=Invoice):
    return client.post(url(model, "live") + query, {"key": [task.pk for task in tasks]})


def test_a_poll_says_what_changed(superuser) -> None:
    first, _second = Invoice.objects.create(), Invoice.objects.create()
    apply(first, EventKind.START, worker="app-1:7:x")

    state = poll(superuser, first).json()

    row = state["rows"][str(first.pk)]
    assert {name: state["counts"][name] for name in ("all", "waiting", "running")} == {
        "all": "2",
        "waiting": "1",
        "running": "1",
    }
    assert (row["name"], row["state"]) == (str(first), "running")
    assert "reports no progress" in row["cells"]["activity_label"]
    assert row["cells"]["worker_label"] == '<span title="app-1:7:x">app-1</span>'
    assert "task_label" not in row["cells"]
    assert state["new"] == {"number": 1, "words": "1 new task"}
    assert state["is_busy"]


def test_a_row_that_left_the_filter_is_still_updated(superuser) -> None:
    task = bring_to(Invoice.objects.create(), Status.SUCCESS)

    state = poll(superuser, task, query="?task-state=running").json()

    assert state["rows"][str(task.pk)]["state"] == "succeeded"
    assert state["counts"]["running"] == "0"
    assert state["new"]["number"] == 0
    assert not state["is_busy"]


def test_a_later_page_announces_no_tasks(superuser, monkeypatch) -> None:
    monkeypatch.setattr(site.get_model_admin(Invoice), "list_per_page", 1)
    old, _new = Invoice.objects.create(), Invoice.objects.create()

    state = poll(superuser, query="?p=2").json()

    assert (state["new"]["number"], state["rows"]) == (0, {})
    assert poll(superuser, old).json()["new"]["number"] == 1


def test_keys_of_any_kind_and_none_are_accepted(superuser) -> None:
    task = TextKeyed.objects.create(id="a/b ü")

    answer = superuser.post(url(TextKeyed, "live"), {"key": ["a/b ü", "gone", "\x00"]})
    wrong = superuser.post(url(Invoice, "live"), {"key": ["odd", "99999999999999999999999"]})

    assert [*answer.json()["rows"]] == [task.pk]
    assert wrong.json()["rows"] == {}


def test_a_poll_takes_the_statements_of_the_page_and_two(superuser) -> None:
    tasks = [bring_to(Invoice.objects.create(), Status.RUNNING) for _ in range(3)]
    address = url(Invoice) + "?task-state=waiting"
    superuser.get(address)
    with CaptureQueriesContext(connection) as page:
        superuser.get(address)

    with CaptureQueriesContext(connection) as polled:
        poll(superuser, *tasks, query="?task-state=waiting")

    assert len(polled) <= len(page) + 2


def test_who_may_not_view_gets_nothing(staff) -> None:
    assert poll(staff()).status_code == 403


def test_rows_that_a_user_may_not_view_are_left_out(staff, monkeypatch) -> None:
    hidden, shown = Invoice.objects.create(amount=1), Invoice.objects.create()
    decide = lambda self, request, obj=None: obj is None or obj.amount == 0  # noqa: E731
    monkeypatch.setattr(type(site.get_model_admin(Invoice)), "has_view_permission", decide)

    state = poll(staff("view_invoice"), hidden, shown, query="?task-state=failed").json()

    assert [*state["rows"]] == [str(shown.pk)]


def test_fields_that_are_edited_in_the_list_are_left_alone(superuser, monkeypatch) -> None:
    model_admin = site.get_model_admin(Invoice)
    monkeypatch.setattr(model_admin, "list_editable", ("amount",))
    task = Invoice.objects.create()

    page = superuser.get(url(Invoice)).content.decode()
    cells = poll(superuser, task).json()["rows"][str(task.pk)]["cells"]

    assert 'name="form-0-amount"' in page
    assert 'name="form-0-id"' in page
    assert "amount" not in cells


def test_filters_that_do_not_exist_are_not_found(superuser) -> None:
    assert poll(superuser, query="?task-state=odd").status_code == 404


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_subclass_keeps_the_address(superuser, method) -> None:
    assert "live/" in {str(pattern.pattern) for pattern in site.get_model_admin(Invoice).urls}
    assert issubclass(type(site.get_model_admin(Invoice)), SimpleTaskAdmin)
    assert getattr(superuser, method)(url(Invoice, "live")).status_code == 200
