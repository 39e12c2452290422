"""The filters of a list: addresses that anyone can keep, and bounded searches."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.sites import site
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_simpletask3.admin import SimpleTaskAdmin, changelist
from django_simpletask3.context import task_context
from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import text, url
from tests.steps import bring_to
from tests.testapp.models import Dunning, Invoice, TextKeyed


def listed(client, model=Invoice, **params: str) -> list:
    names = {name.replace("_", "-", 1): value for name, value in params.items()}
    return sorted(client.get(url(model), names).context["cl"].result_list, key=lambda t: t.pk)


def failed(kind: str, message: str) -> Invoice:
    error = {"type": kind, "message": message, "traceback": "..."}
    return bring_to(Invoice.objects.create(), Status.FAILED, error_data=error)


@pytest.mark.parametrize("searched", ["keyerror", "Schlüssel", '"x"', "100%"])
def test_an_error_is_found_by_a_text_in_it(superuser, searched) -> None:
    task = failed("KeyError", 'der Schlüssel "x" fehlt zu 100%')
    failed("ValueError", "100 others")
    bring_to(Invoice.objects.create(), Status.SUCCESS, result="KeyError")

    assert listed(superuser, task_error=searched) == [task]


def test_a_worker_is_found_by_its_node(superuser) -> None:
    tasks = [Invoice.objects.create() for _ in range(3)]
    for task, worker in zip(tasks, ("app-1:7:x", "app-10:7:x", "app-1"), strict=True):
        apply(task, EventKind.START, worker=worker)

    assert listed(superuser, task_worker="app-1") == [tasks[0], tasks[2]]
    assert listed(superuser, task_worker="app-1:7:x") == [tasks[0]]


def test_who_enqueued_a_task_finds_it(superuser) -> None:
    with task_context(actor=User.objects.get(username="root")):
        mine = Invoice.objects.create()
    with task_context(actor="maria"):
        Invoice.objects.create().reset()

    assert listed(superuser, task_actor="me") == [mine]


def test_tasks_are_found_that_run_for_long(superuser, time_machine) -> None:
    time_machine.move_to(timezone.now(), tick=False)
    long, done = Invoice.objects.create(), Invoice.objects.create()
    apply(long, EventKind.START, worker="w1")
    bring_to(done, Status.SUCCESS)
    time_machine.shift(601)
    superuser.force_login(User.objects.get(username="root"))
    apply(Invoice.objects.create(), EventKind.START, worker="w1")

    assert listed(superuser, task_runs="600") == [long]


@pytest.mark.parametrize(
    ("period", "hours"),
    [("hour", 1), ("today", 14), ("week", 24 * 7), ("month", 24 * 30)],
)
def test_tasks_are_found_by_when_they_were_done(superuser, time_machine, period, hours) -> None:
    time_machine.move_to("2026-11-28T14:00:00+00:00", tick=False)
    now = timezone.now()
    before, after = (bring_to(Invoice.objects.create(), Status.SUCCESS) for _ in range(2))
    for task, seconds in ((before, 1), (after, -1)):
        moment = now - timedelta(hours=hours, seconds=seconds)
        Invoice.objects.filter(pk=task.pk).update_managed(done_time=moment)
    superuser.force_login(User.objects.get(username="root"))

    assert listed(superuser, task_time=f"done-{period}") == [after]


@pytest.mark.parametrize("since", ["2026-11-28T10:00", "2026-11-28T09:00:00+00:00"])
def test_tasks_are_found_that_were_done_since_a_time(
    superuser, time_machine, settings, since
) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    for moment in ("08:59:59", "09:00:00"):
        time_machine.move_to(f"2026-11-28T{moment}+00:00", tick=False)
        task = bring_to(Invoice.objects.create(), Status.FAILED)
    Invoice.objects.create()
    superuser.force_login(User.objects.get(username="root"))

    assert listed(superuser, task_since=since) == [task]
    assert listed(superuser, task_since=since, task_state="succeeded") == []
    form = superuser.get(url(Invoice), {"task-since": since})
    assert 'name="task-since" value="2026-11-28T10:00"' in form.content.decode()


def test_seconds_of_a_time_stay_when_the_filters_are_sent_again(superuser) -> None:
    form = superuser.get(url(Invoice), {"task-since": "2026-11-28T10:00:59"})

    assert 'name="task-since" value="2026-11-28T10:00:59"' in form.content.decode()


def test_tasks_are_found_by_when_they_were_enqueued(superuser, time_machine) -> None:
    time_machine.move_to("2026-11-28T12:00:00+00:00", tick=False)
    Invoice.objects.create()
    time_machine.move_to("2026-11-28T14:00:00+00:00", tick=False)
    new = Invoice.objects.create()
    superuser.force_login(User.objects.get(username="root"))

    assert listed(superuser, task_time="enqueued-hour") == [new]
    time_machine.move_to("2026-11-29T14:00:00+00:00", tick=False)
    superuser.force_login(User.objects.get(username="root"))
    assert listed(superuser, task_time="enqueued-hour") == []


def test_random_keys_have_no_filter_by_enqueuing(superuser) -> None:
    TextKeyed.objects.create(id="a")

    page = superuser.get(url(TextKeyed))
    refused = superuser.get(url(TextKeyed), {"task-time": "enqueued-hour"})

    assert "enqueued today" not in text(page)
    assert refused.status_code == 302


@pytest.mark.parametrize(
    "query",
    [
        "task-state=odd",
        "task-time=done",
        "task-since=9:00",
        "task-since=2026-02-30T09:00",
        "task-since=0001-01-01T00:00",
        "task-runs=-1",
        "task-actor=maria",
        "task-worker=%00",
        "task-error=%00",
    ],
)
def test_an_unknown_value_leads_to_the_whole_list(superuser, query) -> None:
    assert superuser.get(f"{url(Invoice)}?{query}").headers["location"].endswith("?e=1")


def test_what_has_no_index_is_searched_in_the_newest_tasks(superuser, monkeypatch) -> None:
    monkeypatch.setattr(changelist, "MAX_LISTED", 2)
    tasks = [failed("KeyError", "x") for _ in range(3)]
    bring_to(Invoice.objects.create(), Status.SUCCESS)

    assert listed(superuser, task_error="KeyError") == tasks[1:]


@pytest.mark.parametrize("query", ["task-error=x", "task-worker=x", "task-actor=me"])
def test_a_bounded_filter_takes_one_more_statement(superuser, pending_task, query) -> None:
    superuser.get(url(Invoice))
    with CaptureQueriesContext(connection) as plain:
        superuser.get(url(Invoice), {"task-state": "failed"})

    with CaptureQueriesContext(connection) as filtered:
        superuser.get(f"{url(Invoice)}?task-state=failed&{query}")

    assert len(filtered) <= len(plain) + 1


def test_saved_filters_are_addresses(superuser, monkeypatch) -> None:
    own = [*SimpleTaskAdmin.saved_filters, ("Large ones", "amount=100&task-state=failed")]
    monkeypatch.setattr(site.get_model_admin(Invoice), "saved_filters", own)
    large = Invoice.objects.create(amount=100)
    bring_to(large, Status.FAILED)
    failed("KeyError", "x")
    page = superuser.get(url(Invoice))

    links = {str(link["title"]): link["link"] for link in page.context["cl"].filter_form.saved}

    assert [*links] == ["Failed today", "Longer than 10 min", "Enqueued by me", "Large ones"]
    assert listed(superuser, amount="100", task_state="failed") == [large]
    assert {superuser.get(url(Invoice) + link).status_code for link in links.values()} == {200}


def test_a_form_keeps_what_it_does_not_ask(superuser, pending_task) -> None:
    query = "?amount=0&q=invoice&task-state=waiting&task-error=&p=1&o=1"

    form = superuser.get(url(Invoice) + query).context["cl"].filter_form

    assert sorted(form.hidden) == [("amount", "0"), ("o", "1"), ("task-state", "waiting")]


class LargeFilter(SimpleListFilter):
    """A filter of a project, with a template of its own."""

    title, parameter_name, template = "size", "size", "admin/filter.html"

    def lookups(self, request, model_admin):
        return [("large", "large")]

    def queryset(self, request, queryset):
        return queryset.filter(amount__gte=100) if self.value() else queryset


class OddFilter(LargeFilter):
    title, parameter_name, template = "oddness", "odd", "testapp/odd_filter.html"


def test_own_filters_are_menus_in_the_row(superuser, monkeypatch) -> None:
    monkeypatch.setattr(site.get_model_admin(Invoice), "list_filter", (LargeFilter, "fails"))
    large = Invoice.objects.create(amount=100)
    Invoice.objects.create(amount=1)

    page = superuser.get(url(Invoice))
    menus = page.context["cl"].filter_form.menus

    assert [(menu.title, str(menu.chosen)) for menu in menus] == [("size", "All"), ("fails", "All")]
    link = menus[0].choices[1]["query_string"]
    assert [*superuser.get(url(Invoice) + link).context["cl"].result_list] == [large]
    assert "changelist-filter" not in page.content.decode()


#: What tells a user what an error says: the filter of this package, and lookups of Django.
SEARCHES = ["task-error=hush", "error_data__icontains=hush", "result_data__icontains=hush"]


@pytest.fixture
def model_admin(monkeypatch) -> SimpleTaskAdmin:
    """An admin with saved filters by an error."""
    model_admin = site.get_model_admin(Invoice)
    saved = [
        ("Timeouts", "task-state=failed&task-error=Timeout"),
        ("Closed", "error_data__contains=closed"),
    ]
    monkeypatch.setattr(model_admin, "saved_filters", saved)
    return model_admin


@pytest.mark.parametrize("query", SEARCHES)
def test_errors_that_are_shown_can_be_searched(superuser, model_admin, query) -> None:
    task = failed("KeyError", "hush")
    bring_to(Invoice.objects.create(), Status.SUCCESS, result="hush")

    page = superuser.get(f"{url(Invoice)}?{query}")

    assert len(page.context["cl"].result_list) == 1, task
    assert "Error contains" in text(page)
    assert "Timeouts" in text(page)
    assert "Closed" in text(page)


def hide_from_all(model_admin, monkeypatch) -> None:
    monkeypatch.setattr(model_admin, "task_parts", ("timeline", "events"))


def hide_from_some(model_admin, monkeypatch) -> None:
    def get_task_parts(_self, request, task):
        return () if task.amount else ("outcome",)

    monkeypatch.setattr(type(model_admin), "get_task_parts", get_task_parts)


@pytest.mark.parametrize("query", SEARCHES)
@pytest.mark.parametrize("hide", [hide_from_all, hide_from_some])
def test_errors_that_are_hidden_cannot_be_searched(
    superuser, model_admin, monkeypatch, hide, query
) -> None:
    failed("KeyError", "hush")
    hide(model_admin, monkeypatch)

    page = superuser.get(url(Invoice))
    answers = {
        superuser.get(f"{url(Invoice)}?{query}{search}").status_code for search in ("", "-hush")
    }
    polls = {
        superuser.post(f"{url(Invoice, 'live')}?{query}{search}").status_code
        for search in ("", "-hush")
    }

    assert "Error contains" not in text(page)
    assert "Timeouts" not in text(page)
    assert "Closed" not in text(page)
    assert answers in ({302}, {400})
    assert polls in ({404}, {400})


def test_an_admin_can_let_some_users_search_errors(superuser, model_admin, monkeypatch) -> None:
    failed("KeyError", "hush")
    hide_from_some(model_admin, monkeypatch)
    may_search = lambda request: request.user.is_superuser  # noqa: E731
    monkeypatch.setattr(model_admin, "may_search_errors", may_search)

    assert len(listed(superuser, task_error="hush")) == 1


@pytest.mark.parametrize("hide", [hide_from_all, hide_from_some])
def test_no_search_field_tells_what_hidden_errors_say(
    superuser, model_admin, monkeypatch, hide
) -> None:
    failed("KeyError", "hush")
    monkeypatch.setattr(model_admin, "search_fields", ("error_data", "amount"))
    assert len(listed(superuser, q="hush")) == 1

    hide(model_admin, monkeypatch)

    assert len(listed(superuser, q="hush")) == 0


def test_a_failed_task_leads_to_those_with_the_same_error(superuser) -> None:
    task, same = failed("app.OutOfPaper", "tray 1"), failed("app.OutOfPaper", "tray 2")
    failed("KeyError", "OutOfInk")
    page = superuser.get(url(task)).content.decode()

    (link,) = re.findall(r'Same error</dt>\s*<dd><a href="([^"]*)">OutOfPaper</a>', page)

    found = superuser.get(unescape(link)).context["cl"].result_list
    assert {*found} == {task, same}


@pytest.mark.parametrize("kind", ["E\ud800", "E\x00", ""])
def test_an_error_that_cannot_be_searched_leads_to_no_other(superuser, kind) -> None:
    task = failed(kind, "tray 1")

    page = superuser.get(url(task)).content.decode()

    assert "Same error" not in page
    assert "tray 1" in page


@pytest.mark.parametrize("hide", [hide_from_all, hide_from_some])
def test_a_hidden_error_leads_to_no_other(superuser, model_admin, monkeypatch, hide) -> None:
    task = failed("app.OutOfPaper", "tray 1")
    hide(model_admin, monkeypatch)

    page = superuser.get(url(task)).content.decode()

    assert "Same error" not in page


def test_the_list_of_another_model_does_not_tell_what_errors_say(superuser) -> None:
    Dunning.objects.create(invoice=failed("KeyError", "hush"))

    answer = superuser.get(f"{url(Dunning)}?invoice__error_data__icontains=hush")

    assert answer.status_code == 400
