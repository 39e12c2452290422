"""An admin that refuses a row is asked wherever a task is shown or changed."""

import json
from typing import Any

import django
import pytest
from django.contrib.admin.sites import site
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.timezone import now

from django_simpletask3.ledger.outbox import Delivery
from django_simpletask3.ledger.task_row import task_reference
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.models.task import SimpleTask
from django_simpletask3.queue import Message, get_queue
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import (
    CANCEL,
    EXECUTE,
    EXECUTE_HERE,
    EXPORT,
    FORCE_CANCEL,
    HOLD,
    LIFT,
    RESET,
    RETRY,
    UNBLOCK,
    post_action,
    ready,
    shown_messages,
    text,
    url,
)
from tests.steps import bring_to, kinds
from tests.testapp.models import ForeignInvoice, Invoice

pytestmark = pytest.mark.django_db

EVERY_ACTION = [
    EXECUTE,
    EXECUTE_HERE,
    RESET,
    RETRY,
    CANCEL,
    FORCE_CANCEL,
    UNBLOCK,
    HOLD,
    LIFT,
    EXPORT,
]
INVOICES = site.get_model_admin(Invoice)


def small_only(request: Any, obj: Any = None) -> bool:
    return obj is None or obj.amount < 10


def refuse(monkeypatch: pytest.MonkeyPatch, *verbs: str) -> None:
    for verb in verbs:
        monkeypatch.setattr(INVOICES, f"has_{verb}_permission", small_only)


@pytest.fixture
def small_ones_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invoices of ten and more may be neither viewed nor changed."""
    refuse(monkeypatch, "view", "change")


def lost(reason: str, amount: int, model: type[SimpleTask] = Invoice) -> Any:
    """A task that was lost, and runs again in ``reason``'s worker."""
    task: Any = bring_to(model.objects.create(amount=amount), Status.RUNNING)  # type: ignore[attr-defined]
    apply(task, EventKind.RECOVER, reason=reason)
    apply(task, EventKind.START, worker=f"worker of {reason}")
    return task


def page(client: Any, name: str = "changelist", **asked: Any) -> Any:
    return client.get(reverse(f"admin:django_simpletask3_dashboard_{name}"), asked)


@pytest.mark.usefixtures("small_ones_only")
@pytest.mark.parametrize("action", EVERY_ACTION)
def test_no_action_touches_a_row_that_is_refused(superuser: Any, action: str) -> None:
    mine, theirs = Invoice.objects.create(amount=1), Invoice.objects.create(amount=10)
    before = [len(kinds(ready(task, action))) for task in (mine, theirs)]

    response = post_action(superuser, action, mine, theirs)

    assert kinds(theirs)[before[1] :] == []
    if action == EXPORT:
        assert {json.loads(line).get("task") for line in response.file.splitlines()} == {
            str(mine.pk),
            None,
        }
    else:
        assert "1 task was left alone: you have no permission for it." in shown_messages(response)
    if action != RETRY:
        assert kinds(mine)[before[0] :] != []


@pytest.mark.parametrize("action", EVERY_ACTION)
@pytest.mark.parametrize("verb", ["view", "change"])
def test_a_row_that_may_only_be_viewed_can_be_exported_and_nothing_else(
    superuser: Any, monkeypatch: pytest.MonkeyPatch, action: str, verb: str
) -> None:
    refuse(monkeypatch, verb)
    theirs = Invoice.objects.create(amount=10)
    before = len(kinds(ready(theirs, action)))

    post_action(superuser, action, theirs)

    is_allowed = verb == "change" and action == EXPORT
    assert kinds(theirs)[before:] == (["note"] if is_allowed else [])


def test_an_admin_in_which_nothing_can_be_changed_keeps_its_actions(
    superuser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(INVOICES, "has_change_permission", lambda request, obj=None: False)
    task = Invoice.objects.create(amount=1)

    post_action(superuser, CANCEL, task)

    assert kinds(task) == ["enqueue", "cancel"]


@pytest.mark.usefixtures("small_ones_only")
def test_the_confirmation_does_not_tell_the_status_of_a_refused_row(superuser: Any) -> None:
    theirs = bring_to(Invoice.objects.create(amount=10), Status.FAILED)

    asked = {"action": RESET, "_selected_action": [theirs.pk]}
    shown = superuser.post(url(Invoice), asked)

    assert "You may not do this to any of those selected" in text(shown)
    assert "failed" not in text(shown)
    assert url(theirs) not in shown.content.decode()


@pytest.mark.usefixtures("small_ones_only")
@pytest.mark.parametrize("model", [Invoice, ForeignInvoice])
def test_no_page_tells_of_a_refused_row(superuser: Any, model: type[SimpleTask]) -> None:
    lost("visible", 9, model)
    hidden = lost("hush-hush", 10, model)

    shown = "".join(page(superuser, name).content.decode() for name in ("changelist", "recoveries"))
    exported = b"".join(page(superuser, "export").streaming_content).decode()

    assert "hush-hush" not in shown + exported
    assert shown.count("worker of visible") >= 1
    assert "visible" in exported
    assert f"/{hidden.pk}/change" not in shown


@pytest.mark.usefixtures("small_ones_only")
def test_the_counts_leave_out_what_is_refused(superuser: Any) -> None:
    lost("same", 9)
    lost("same", 10)

    (count,) = page(superuser, "recoveries").context["numbers_of_today"]

    assert count["words"].startswith("1 task ran again")


@pytest.mark.usefixtures("small_ones_only")
def test_the_recoveries_of_a_deleted_row_are_not_shown(superuser: Any) -> None:
    task = lost("hush-hush", 9)
    task.cancel()
    task.delete()

    assert b"hush-hush" not in page(superuser, "recoveries").content


@pytest.mark.usefixtures("small_ones_only")
def test_the_list_shows_no_refused_row(superuser: Any) -> None:
    mine, theirs = Invoice.objects.create(amount=1), Invoice.objects.create(amount=10)

    shown = superuser.get(url(Invoice)).content.decode()

    assert url(mine) in shown
    assert url(theirs) not in shown


@pytest.mark.usefixtures("small_ones_only")
@pytest.mark.parametrize("name", ["change", "timeline", "history"])
def test_the_pages_of_a_refused_row_are_refused(superuser: Any, name: str) -> None:
    theirs = Invoice.objects.create(amount=10)

    assert superuser.get(url(theirs, name)).status_code == 403


@pytest.mark.usefixtures("small_ones_only")
def test_a_refused_child_is_not_named(superuser: Any) -> None:
    parent = Invoice.objects.create(amount=1)
    children = [Invoice.objects.create(amount=amount) for amount in (2, 10)]
    rows = rows_of(Invoice, "default").filter(pk__in=[child.pk for child in children])
    rows.update_managed(parent=task_reference(parent))

    shown = superuser.get(url(parent)).content.decode()

    assert url(children[0]) in shown
    assert url(children[1]) not in shown


def test_a_refused_row_is_not_edited_in_the_list(
    superuser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "change")
    monkeypatch.setattr(INVOICES, "list_editable", ("amount",))
    theirs = Invoice.objects.create(amount=10)
    form = {"form-0-id": theirs.pk, "form-0-amount": 1, "_save": "Save"}
    counts = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1}

    response = superuser.post(url(Invoice), {**form, **counts})

    theirs.refresh_from_db()
    refusal = (
        302 if django.VERSION >= (6, 1) else 403
    )  # Django 6.1 skips the row, older ones refuse
    assert (response.status_code, theirs.amount) == (refusal, 10)


def dead_letter(reason: str) -> None:
    channel = Invoice.get_event_channel()
    get_queue().push(channel, [("m", {"id": 1})])
    (message,) = get_queue().claim(channel, worker="w", lease=60, timeout=1)
    assert isinstance(message, Message)
    get_queue().dead_letter(message, reason)


def limit_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Invoice.objects.filter(amount__lt=10)
    monkeypatch.setattr(INVOICES, "get_queryset", lambda request: rows)


def cut_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(INVOICES, "get_queryset", lambda request: Invoice.objects.all()[:5])


@pytest.mark.parametrize(
    "restrict", [limit_rows, cut_rows, lambda monkeypatch: refuse(monkeypatch, "view")]
)
def test_dead_letters_are_for_users_who_see_every_row(
    superuser: Any, monkeypatch: pytest.MonkeyPatch, restrict: Any
) -> None:
    dead_letter("hush-hush")
    before = page(superuser).content

    restrict(monkeypatch)

    assert b"hush-hush" in before
    assert b"hush-hush" not in page(superuser).content


def test_a_user_who_may_view_a_proxy_only_sees_no_dead_letters(watcher: Any) -> None:
    channel = ForeignInvoice.get_event_channel()
    get_queue().push(channel, [("m", {"id": 1})])
    (message,) = get_queue().claim(channel, worker="w", lease=60, timeout=1)
    get_queue().dead_letter(message, "hush-hush")

    assert b"hush-hush" not in page(watcher("view_foreigninvoice")).content


def statements(client: Any, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(connection) as seen:
        client.get(address)
    return len(seen)


@pytest.mark.parametrize("name", ["changelist", "recoveries"])
def test_asking_for_each_row_takes_no_statement_for_each(
    superuser: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for number in range(5):
        lost("visible", number)
    address = reverse(f"admin:django_simpletask3_dashboard_{name}")
    before = statements(superuser, address)

    refuse(monkeypatch, "view")

    # On the dashboard, two more for the attempts that nodes have lost.
    assert statements(superuser, address) <= before + (7 if name == "changelist" else 5)


@pytest.mark.usefixtures("small_ones_only")
def test_a_refused_row_is_not_deleted(superuser: Any) -> None:
    mine, theirs = Invoice.objects.create(amount=1), Invoice.objects.create(amount=10)
    chosen = {"action": "delete_selected", "_selected_action": [mine.pk, theirs.pk], "post": "yes"}

    together = superuser.post(url(Invoice), chosen)
    alone = superuser.post(url(theirs, "delete"), {"post": "yes"})
    permitted = superuser.post(url(mine, "delete"), {"post": "yes"})

    assert [r.status_code for r in (together, alone, permitted)] == [403, 403, 302]
    assert [task.pk for task in Invoice.objects.all()] == [theirs.pk]


def test_deliveries_are_shown_of_the_models_that_the_user_may_view(staff: Any) -> None:
    client = staff("view_invoice")
    User.objects.get(username="mia").user_permissions.add(
        Permission.objects.get(codename="view_delivery")
    )
    for label in ("testapp.Invoice", "testapp.Reminder", "gone.Model"):
        Delivery.objects.create(
            subscription="s", model=label, task_key="1", sequence=1, kind="ack", event_time=now()
        )

    shown = text(client.get(url(Delivery)))

    assert "testapp.Invoice" in shown
    assert "gone.Model" in shown
    assert "testapp.Reminder" not in shown
