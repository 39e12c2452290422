"""The page before an action is carried out: nothing is done yet, everything is said."""

from datetime import timedelta

import pytest
from django.contrib.admin.sites import site
from django.db import connection
from django.db.models import Count
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import strip_tags

from django_simpletask3.admin.actions import preview
from django_simpletask3.admin.actions.definitions import ACTIONS
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import (
    CONFIRMED,
    EXECUTE_HERE,
    LIFT,
    RESET,
    RETRY,
    post_action,
    received,
    shown_messages,
    text,
    url,
)
from tests.steps import apply_kinds, bring_to, create_task, kinds
from tests.testapp.models import Dunning, Elsewhere, Invoice, Step, TextKeyed

each_action = pytest.mark.parametrize(
    "task_action", ACTIONS, ids=lambda task_action: task_action.name
)


def ask(client, action: str, *tasks, **further):
    """Choose an action in the list, as a browser does."""
    chosen = {"action": action, "_selected_action": [task.pk for task in tasks], **further}
    return client.post(url(type(tasks[0])), chosen)


def confirm(client, page, **further):
    """Post the form of the page, as a browser does."""
    context = page.context
    data = {
        "action": context["action"],
        "select_across": context["select_across"],
        context["checkbox_name"]: context["selected"],
        context["confirmed_name"]: "yes",
        **({context["keys_name"]: context["keys"]} if context["keys"] else {}),
    }
    return received(client.post(url(context["opts"].model), data | further, follow=True))


@each_action
def test_nothing_is_done_before_it_is_confirmed(superuser, pending_task, task_action) -> None:
    page = ask(superuser, task_action.name, pending_task)

    assert page.status_code == 200
    assert kinds(pending_task) == ["enqueue"]
    assert str(task_action.wording.name) in page.content.decode()
    assert page.context["total"] == 1


def test_it_says_how_many_would_be_affected(superuser) -> None:
    tasks = [bring_to(Invoice.objects.create(), status) for status in [*Status, Status.FAILED]]

    page = ask(superuser, RETRY, *tasks)

    found = page.context["confirmation"]
    assert "2 of 7 selected tasks run again, as soon as a worker is free" in text(page)
    assert "each with its retries counted anew" in text(page)
    assert "5 are left alone." in text(page)
    assert ">Retry 2 tasks</button>" in page.content.decode()
    assert (found.affected.count, found.left_alone.count) == (2, 5)
    assert [text_of(row.becomes) for row in found.affected.rows] == ["waiting", "waiting"]
    assert {str(row.detail) for row in found.left_alone.rows} == {
        "has not failed; Reset runs it again all the same"
    }


def test_the_page_counts_the_tasks_that_the_action_changes(superuser) -> None:
    for task_action in ACTIONS:
        tasks = [bring_to(Invoice.objects.create(), status) for status in Status]
        page = ask(superuser, task_action.name, *tasks)
        before = [len(kinds(task)) for task in tasks]

        confirm(superuser, page)

        touched = sum(len(kinds(task)) > count for task, count in zip(tasks, before, strict=True))
        assert (task_action.name, touched) == (task_action.name, page.context["affected"])


def test_tasks_that_one_may_not_touch_are_not_counted(superuser, monkeypatch) -> None:
    tasks = Invoice.objects.bulk_enqueue({"amount": n} for n in range(3))
    model_admin = site.get_model_admin(Invoice)
    name = "has_django_simpletask3_reset_permission"
    monkeypatch.setattr(model_admin, name, lambda request, obj=None: not obj or obj.amount > 0)

    page = ask(superuser, RESET, *tasks)

    assert "2 of 3 selected tasks run again" in text(page)
    [row] = page.context["confirmation"].left_alone.rows
    assert str(row.detail) == "you may not do this to it"


def test_a_list_that_counts_other_rows_does_not_multiply(superuser, monkeypatch) -> None:
    task = Invoice.objects.create()
    for _ in range(3):
        Dunning.objects.create(invoice=task)
    monkeypatch.setattr(
        site.get_model_admin(Invoice),
        "get_queryset",
        lambda request: Invoice.objects.annotate(n=Count("dunning")).filter(dunning__pk__gt=0),
    )

    page = ask(superuser, RESET, task)
    done = confirm(superuser, page)

    assert "The selected task runs again" in text(page)
    assert shown_messages(done) == ["1 task was reset and waits to run again."]


def test_a_page_of_many_tasks_says_that_only_the_first_were_checked(superuser, monkeypatch) -> None:
    monkeypatch.setattr(preview, "MAX_CHECKED", 2)
    tasks = [bring_to(Invoice.objects.create(), status) for status in [*Status, Status.FAILED]]

    page = ask(superuser, RETRY, *tasks)

    assert "At most 2 of 7 selected tasks run again" in text(page)
    assert "Only the first tasks were checked" in text(page)
    assert ">Retry up to 2 tasks</button>" in page.content.decode()
    assert len(page.context["confirmation"].affected.rows) == 2


def test_only_holds_that_are_there_are_counted(superuser, pending_task) -> None:
    held = Invoice.objects.create()
    held.hold()

    page = ask(superuser, LIFT, pending_task, held)

    assert "1 of 2 selected tasks is no longer on legal hold" in text(page)


def test_the_reason_stands_in_the_event(superuser, finished_task) -> None:
    page = ask(superuser, RESET, finished_task)

    confirm(superuser, page, reason="  the bank was closed  ")

    event = finished_task.events.last()
    assert (event.kind, event.actor, event.reason) == ("reset", "root", "the bank was closed")


@pytest.mark.parametrize("ticked", [{}, {"restart": "on"}], ids=["left", "ticked"])
def test_a_reset_repeats_the_steps_that_are_done_if_that_is_ticked(
    superuser, finished_task, ticked
) -> None:
    page = ask(superuser, RESET, finished_task)
    assert '<input type="checkbox" name="restart"' in page.content.decode()

    confirm(superuser, page, **ticked)

    assert finished_task.events.last().data["restart"] is bool(ticked)


@pytest.mark.parametrize("ticked", [{}, {"dependents": "on"}], ids=["left", "ticked"])
def test_a_reset_lets_dependents_wait_again_if_that_is_ticked(superuser, ticked) -> None:
    task = bring_to(create_task(Step), Status.FAILED)
    page = ask(superuser, RESET, task)
    assert '<input type="checkbox" name="dependents"' in page.content.decode()

    confirm(superuser, page, **ticked)

    data = task.events.last().data
    assert (data["restart"], data.get("dependents", False)) == (False, bool(ticked))


def test_a_reset_says_how_many_dependents_wait_again_and_how_many_have_run(superuser) -> None:
    failed, other = create_task(Step), create_task(Step)
    for _ in range(2):
        Invoice().after(failed, other).save()
    Invoice().after(failed, on_failure="run").save()
    Invoice().after(failed, other, on_failure="wait").save()
    apply_kinds(failed, "start", "fail")
    page = ask(superuser, RESET, failed, other)

    response = confirm(superuser, page, dependents="on")

    assert shown_messages(response) == [
        "2 tasks were reset and wait to run again.",
        "2 dependents wait again.",
        "1 dependent was left alone: it has run after the failure. Reset it to run it again.",
    ]


def test_a_task_for_which_no_other_waits_has_no_box_for_dependents(
    superuser, finished_task
) -> None:
    page = ask(superuser, RESET, finished_task)

    confirm(superuser, page, dependents="on")  # which is left alone

    assert 'name="dependents"' not in page.content.decode()
    assert "dependents" not in finished_task.events.last().data


def test_other_actions_have_no_tick_box(superuser, finished_task) -> None:
    page = ask(superuser, RETRY, finished_task)

    confirm(superuser, page, restart="on")  # which is left alone

    assert "checkbox" not in page.content.decode()
    assert kinds(finished_task)[-1] == "ack"


def test_a_reason_that_is_too_long_is_cut(superuser, finished_task) -> None:
    post_action(superuser, RESET, finished_task, reason="x" * 300)

    assert finished_task.events.last().reason == "x" * 255


def test_all_tasks_of_the_list_can_be_meant(superuser) -> None:
    tasks = Invoice.objects.bulk_enqueue({"amount": n} for n in range(5))

    page = ask(superuser, RESET, tasks[0], select_across=1)
    done = confirm(superuser, page)

    assert "All 5 selected tasks run again" in text(page)
    assert shown_messages(done) == ["5 tasks were reset and wait to run again."]


@pytest.mark.parametrize("model", [Invoice, TextKeyed, Elsewhere])
def test_tasks_that_come_after_the_page_are_left_alone(superuser, model) -> None:
    ids = ["a", "b\"'&<", "c,d", "0"] if model is TextKeyed else [None] * 4
    first, *others = (model.objects.create(id=key) for key in ids[:3])
    page = ask(superuser, RESET, first, select_across=1)
    late = model.objects.create(id=ids[3])

    done = confirm(superuser, page)

    assert shown_messages(done) == ["3 tasks were reset and wait to run again."]
    assert [kinds(task) for task in [first, *others]] == [["enqueue", "reset"]] * 3
    assert kinds(late) == ["enqueue"]


def test_a_page_of_thousands_of_tasks_posts_their_keys_in_one_field(superuser) -> None:
    tasks = Invoice.objects.bulk_enqueue({"amount": n} for n in range(1100))

    page = ask(superuser, LIFT, tasks[0], select_across=1)
    with CaptureQueriesContext(connection) as seen:
        done = confirm(superuser, page)

    assert shown_messages(done) == ["1100 tasks were left alone: there is no hold on them."]
    assert len(seen) < 100


def test_keys_that_were_changed_are_refused(superuser, pending_task) -> None:
    page = ask(superuser, RESET, pending_task, select_across=1)

    response = confirm(superuser, page, **{page.context["keys_name"]: "x" + page.context["keys"]})

    assert response.status_code == 400
    assert kinds(pending_task) == ["enqueue"]


def test_a_filter_of_the_list_is_kept(superuser, pending_task, finished_task) -> None:
    where = url(Invoice) + "?status__exact=20"
    chosen = {"action": RESET, "_selected_action": [finished_task.pk], "select_across": 1}

    page = superuser.post(where, chosen)
    superuser.post(where, {**chosen, **CONFIRMED})

    assert page.context["total"] == 1
    assert (kinds(pending_task), kinds(finished_task)[-1]) == (["enqueue"], "reset")


def test_hostile_words_stay_words(superuser, monkeypatch) -> None:
    monkeypatch.setattr(Invoice._meta, "verbose_name_plural", "<script>alert(1)</script>")
    task = Invoice.objects.create()

    page = ask(superuser, RESET, task)

    assert "<script>alert(1)" not in page.content.decode()


def text_of(html: str) -> str:
    return strip_tags(html).strip()


def test_the_first_five_are_named_with_what_they_failed_with(superuser) -> None:
    error = {"type": "<b>KeyError</b>", "message": "first line\nsecond line"}
    for number in range(7):
        details = {"error_data": error} if number else {}
        bring_to(create_task(Invoice, amount=number), Status.FAILED, **details)
    tasks = list(Invoice.objects.all())

    page = ask(superuser, RETRY, *tasks)

    found, html = page.context["confirmation"], page.content.decode()
    assert len(found.affected.rows) == 5
    assert sum(row.detail == "<b>KeyError</b>: first line" for row in found.affected.rows) >= 4
    assert "<b>KeyError</b>" not in html
    assert f">{tasks[-1]}</a>" in html
    assert "and 2 more" in text(page)
    assert html.count("/change/") == 5


def test_the_tasks_are_described_as_in_the_list(superuser) -> None:
    lost, late = Invoice.objects.create(), Invoice.objects.create()
    for task in (lost, late):
        apply(task, EventKind.START, worker="app-3:2051:x")
    data = {"losses": 2, "lost_worker": "app-3:2051:x"}
    error = {"type": "WorkerLost", "message": "app-3:2051:x (lease_expired)"}
    apply(lost, EventKind.DROP, reason="lease_expired", data=data, error_data=error)
    apply(late, EventKind.NOTE, reason="page 3 of 4")
    due = timezone.now() + timedelta(minutes=9)
    Invoice.objects.filter(pk=late.pk).update_managed(check_at=due)

    page = ask(superuser, RESET, lost, late)

    details = {row.detail for row in page.context["confirmation"].affected.rows}
    assert details == {"given up after 2 lost workers, last: app-3", "page 3 of 4"}


def test_where_there_is_nothing_to_do_it_says_why_and_has_no_button(superuser) -> None:
    tasks = [bring_to(Invoice.objects.create(), s) for s in (Status.SUCCESS, Status.RUNNING)]

    page = ask(superuser, RETRY, *tasks)

    words = text(page)
    assert "None of the 2 selected tasks has failed, so there is nothing to retry" in words
    assert "1 running, 1 succeeded. Reset runs a task again whatever it does." in words
    assert 'type="submit">Retry' not in page.content.decode()


@each_action
def test_the_button_repeats_verb_and_number(superuser, task_action) -> None:
    tasks = [bring_to(Invoice.objects.create(), status) for status in [*Status, *Status]]
    held = tasks[0]
    held.hold()

    page = ask(superuser, task_action.name, *tasks)

    found = page.context["confirmation"]
    assert f'type="submit">{found.button}</button>' in page.content.decode()
    assert str(found.affected.count) in found.button
    assert all(row.detail for row in found.left_alone.rows)
    assert "Yes" not in text(page)


def test_where_requests_are_transactions_it_says_that_nothing_runs_here(
    superuser, pending_task, monkeypatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    page = ask(superuser, EXECUTE_HERE, pending_task)

    assert "The selected task cannot run here" in text(page)


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_reason_that_is_required_is_asked_for_again(
    superuser, settings, pending_task, reason
) -> None:
    settings.DJANGO_SIMPLETASK3_ADMIN_REASON_REQUIRED = True

    page = confirm(superuser, ask(superuser, RESET, pending_task), reason=reason)
    asked = page.content.decode()
    before = kinds(pending_task)
    confirm(superuser, page, reason="month end")

    assert "This field is required." in asked
    assert "Required here." in asked
    assert (before, kinds(pending_task)) == (["enqueue"], ["enqueue", "reset"])


def test_the_report_links_to_the_first_tasks(superuser) -> None:
    tasks = Invoice.objects.bulk_enqueue({"amount": n} for n in range(7))

    done = confirm(superuser, ask(superuser, RESET, *tasks))

    [message] = done.context["messages"]
    assert str(message).startswith("7 tasks were reset and wait to run again. <span")
    assert str(message).count("/change/") == 5
    assert "and 2 more" in str(message)
    assert all(url(task) in done.content.decode() for task in list(tasks)[-5:])


def test_asking_takes_few_statements_whatever_is_selected(superuser) -> None:
    tasks = Invoice.objects.bulk_enqueue({"amount": n} for n in range(51))
    ask(superuser, RETRY, tasks[0])

    with CaptureQueriesContext(connection) as few:
        ask(superuser, RETRY, *tasks[:2])
    with CaptureQueriesContext(connection) as many:
        ask(superuser, RETRY, *tasks)

    assert len(many) == len(few)
