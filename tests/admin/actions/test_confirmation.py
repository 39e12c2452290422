"""The page before an action is carried out: nothing is done yet, everything is said."""

import pytest
from django.contrib.admin.sites import site
from django.db.models import Count

from django_simpletask3.admin.actions import confirmation
from django_simpletask3.admin.actions.definitions import ACTIONS
from django_simpletask3.states import Status
from tests.admin.pages import (
    CONFIRMED,
    LIFT,
    RESET,
    RETRY,
    post_action,
    received,
    shown_messages,
    text,
    url,
)
from tests.steps import bring_to, create_task, kinds
from tests.testapp.models import Dunning, Invoice, Step

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
    }
    return received(client.post(url(context["opts"].model), data | further, follow=True))


@each_action
def test_nothing_is_done_before_it_is_confirmed(superuser, pending_task, task_action) -> None:
    page = ask(superuser, task_action.name, pending_task)

    assert page.status_code == 200
    assert kinds(pending_task) == ["enqueue"]
    assert str(task_action.explanation) in text(page)


def test_it_says_how_many_would_be_affected(superuser) -> None:
    tasks = [bring_to(Invoice.objects.create(), status) for status in [*Status, Status.FAILED]]

    page = ask(superuser, RETRY, *tasks)

    assert "2 of 7 selected tasks would be affected." in text(page)
    assert "Failed2is done" in text(page)
    assert "Succeeded1left alone" in text(page)


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

    assert "2 of 3 selected tasks would be affected." in text(page)
    assert "Waiting1left alone: you have no permission" in text(page)


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

    assert "1 of 1 selected task would be affected." in text(page)
    assert shown_messages(done) == ["1 task was reset and waits to run again."]


def test_a_page_of_many_tasks_says_that_only_the_first_were_checked(superuser, monkeypatch) -> None:
    monkeypatch.setattr(confirmation, "MAX_CHECKED", 2)
    tasks = [bring_to(Invoice.objects.create(), status) for status in [*Status, Status.FAILED]]

    page = ask(superuser, RETRY, *tasks)

    assert "2 of 7 selected tasks would be affected." in text(page)
    assert "Only the first tasks were checked" in text(page)


def test_only_holds_that_are_there_are_counted(superuser, pending_task) -> None:
    held = Invoice.objects.create()
    held.hold()

    page = ask(superuser, LIFT, pending_task, held)

    assert "1 of 2 selected tasks would be affected." in text(page)


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

    assert "5 of 5 selected tasks" in text(page)
    assert shown_messages(done) == ["5 tasks were reset and wait to run again."]


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
