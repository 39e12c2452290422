"""Of which tasks a page tells: of those whose model, and which, the user may view."""

import pickle

import pytest
from django.contrib.admin.sites import site
from django.urls import reverse

from django_simpletask3.admin import viewer
from django_simpletask3.ledger.task_row import task_reference
from django_simpletask3.models.queryset import rows_of
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import create_listed_task, text, url
from tests.steps import apply_kinds, bring_to, create_task
from tests.testapp.models import Elsewhere, ForeignInvoice, Invoice, PaidInvoice, Reminder, Step

pytestmark = pytest.mark.django_db

VARIANTS = [ForeignInvoice, PaidInvoice]


def page(client, name: str = "changelist", **asked):
    return client.get(reverse(f"admin:django_simpletask3_dashboard_{name}"), asked)


def shown_texts(client) -> str:
    """Everything that the dashboard, the recoveries and their export say."""
    shown = "".join(page(client, name).content.decode() for name in ("changelist", "recoveries"))
    return shown + b"".join(page(client, "export").streaming_content).decode()


def lost(model, reason: str, **columns):
    """A task that was lost, and runs again in ``reason``'s worker."""
    task = bring_to(model.objects.create(**columns), Status.RUNNING)
    apply(task, EventKind.RECOVER, reason=reason)
    apply(task, EventKind.START, worker=f"worker of {reason}")
    return task


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_user_who_may_view_a_proxy_sees_no_row_of_the_root(watcher, variant) -> None:
    lost(Invoice, "hush-hush")
    lost(variant, "hush-hush")
    apply(bring_to(Invoice.objects.create(), Status.RUNNING), EventKind.ACK, worker="w1")
    client = watcher(f"view_{variant._meta.model_name}")

    shown = shown_texts(client)
    charts = page(client).context["charts"]

    assert "hush-hush" not in shown
    assert charts == []


def test_a_user_who_may_view_the_root_sees_its_rows(watcher) -> None:
    lost(ForeignInvoice, "visible")

    assert "worker of visible" in shown_texts(watcher("view_invoice"))


def test_an_admin_that_refuses_is_believed(superuser, monkeypatch) -> None:
    lost(Invoice, "hush-hush")
    monkeypatch.setattr(
        site.get_model_admin(Invoice), "has_view_permission", lambda request, obj=None: False
    )

    assert "hush-hush" not in shown_texts(superuser)


@pytest.fixture
def small_ones_only(monkeypatch) -> None:
    """The list of invoices shows those of less than ten."""
    model_admin = site.get_model_admin(Invoice)
    monkeypatch.setattr(
        model_admin, "get_queryset", lambda request: Invoice.objects.filter(amount__lt=10)
    )


@pytest.mark.usefixtures("small_ones_only")
def test_rows_that_the_list_does_not_show_are_not_shown(superuser) -> None:
    shown = lost(Invoice, "visible", amount=9)
    hidden = lost(Invoice, "hush-hush", amount=10)
    for task in (shown, hidden):
        apply(task, EventKind.ACK, worker="w1")

    texts = shown_texts(superuser)
    chart = page(superuser).context["charts"][0]

    assert "visible" in texts
    assert "hush-hush" not in texts
    assert len(chart.bars) == 1
    # In the last column, or in the one before, if a minute has begun.
    assert ["succeeded 1" in hit.title for hit in chart.hits].count(True) == 1
    assert sum("succeeded 0" in hit.title for hit in chart.hits) == len(chart.hits) - 1


def test_a_list_that_is_cut_is_left_out(superuser, monkeypatch) -> None:
    lost(Invoice, "hush-hush")
    monkeypatch.setattr(
        site.get_model_admin(Invoice), "get_queryset", lambda request: Invoice.objects.all()[:5]
    )

    assert "hush-hush" not in shown_texts(superuser)


def child_of(parent, model):
    task = create_listed_task(model)
    rows_of(model, task._state.db).filter(pk=task.pk).update_managed(parent=task_reference(parent))
    return task


def test_children_that_one_may_not_view_are_not_named(staff, running_task) -> None:
    mine, theirs = child_of(running_task, Invoice), child_of(running_task, Reminder)

    shown = staff("view_invoice").get(url(running_task)).content.decode()

    assert f"testapp.Invoice {mine.pk}" in shown
    assert "testapp.Reminder" not in shown
    assert url(theirs) not in shown


@pytest.mark.usefixtures("small_ones_only")
def test_children_that_the_list_does_not_show_are_not_named(superuser, running_task) -> None:
    child = child_of(running_task, Invoice)
    Invoice.objects.filter(pk=child.pk).update(amount=10)

    shown = superuser.get(url(running_task)).content.decode()

    assert f"testapp.Invoice {child.pk}" not in shown


def test_the_page_links_what_a_task_waits_for_and_what_waits_for_it(superuser, staff) -> None:
    first, second, third = (create_task(Step) for _ in range(3))
    task = Invoice().after(first, second, third, on_failure="run")
    task.save()
    apply_kinds(second, EventKind.START, EventKind.FAIL)

    page = superuser.get(url(task))
    restricted = staff("view_invoice").get(url(task)).content.decode()

    assert "2 of 3 tasks; 1 failed" in text(page)
    for link in map(url, (first, second, third)):
        assert link in page.content.decode()
        assert link not in restricted
    awaited = superuser.get(url(first))
    assert "Waiting for it" in text(awaited)
    assert url(task) in awaited.content.decode()


def test_a_parent_that_one_may_not_view_is_no_link(staff) -> None:
    parent = create_task(Reminder)
    child = child_of(parent, Invoice)

    shown = staff("view_invoice").get(url(child)).content.decode()

    assert task_reference(parent) in shown
    assert url(parent) not in shown


def test_a_row_of_another_database_does_not_lead_to_one_of_the_same_key(
    superuser, running_task
) -> None:
    here = Reminder.objects.create()
    there = Reminder.objects.using("other").create(pk=here.pk)
    Reminder.objects.using("other").filter(pk=there.pk).update_managed(
        parent=task_reference(running_task)
    )

    shown = superuser.get(url(running_task)).content.decode()

    assert f"testapp.Reminder@other {there.pk}" in shown
    assert url(here) not in shown


def test_a_parent_in_another_database_is_no_link(superuser, pending_task) -> None:
    here = Reminder.objects.create()
    Invoice.objects.filter(pk=pending_task.pk).update_managed(
        parent=f"testapp.Reminder@other:{here.pk}"
    )

    shown = superuser.get(url(pending_task)).content.decode()

    assert f"testapp.Reminder@other:{here.pk}" in shown
    assert url(here) not in shown


def test_a_database_that_is_not_the_default_one_has_its_pages(superuser, running_task) -> None:
    child = child_of(running_task, Elsewhere)

    assert url(child) in superuser.get(url(running_task)).content.decode()


def test_a_task_that_is_shown_can_be_pickled(superuser, pending_task) -> None:
    shown = superuser.get(url(pending_task)).context["original"]

    (there,) = pickle.loads(pickle.dumps([shown]))

    assert there == pending_task
    assert viewer.viewer_of(shown) is not None
    assert viewer.viewer_of(there) is None


def test_recoveries_name_their_database(superuser) -> None:
    lost(Reminder, "here")
    task = Reminder.objects.using("other").create()
    for kind in (EventKind.START, EventKind.RECOVER):
        apply(task, kind, using="other", reason="there")

    recoveries = page(superuser, "recoveries").context["recoveries"]

    tasks = {row["why"].split(",")[0].strip("“”"): row["task"] for row in recoveries}
    assert tasks.keys() == {"here", "there"}
    assert "@other" not in tasks["here"]
    assert "@other" in tasks["there"]
    assert "href" not in tasks["there"]


def test_the_page_of_a_task_names_the_queue_of_what_was_saved(superuser) -> None:
    task = PaidInvoice.objects.create()

    shown = superuser.get(url(Invoice.objects.get(pk=task.pk))).content.decode()

    assert "#queue-testapp.PaidInvoice" in shown
    assert PaidInvoice.get_event_channel() in shown


def test_only_who_sees_the_dashboard_is_led_there(staff, running_task) -> None:
    shown = staff("view_invoice").get(url(running_task)).content.decode()

    assert "#queue-testapp.Invoice" not in shown
