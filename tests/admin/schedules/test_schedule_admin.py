"""Operators see schedules, enable and disable them, run them now, and have own ones."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from django_simpletask3.admin.actions.confirmation import CONFIRMED_NAME
from django_simpletask3.admin.schedules.actions import MAX_RUNS
from django_simpletask3.db import clock
from django_simpletask3.schedules import schedule
from django_simpletask3.schedules.decorator import ATTRIBUTE
from django_simpletask3.schedules.sync import definitions_by_database, write_definitions
from django_simpletask3.schedules.tables import Schedule, ScheduleTick
from django_simpletask3.testing import TaskClock
from django_simpletask3.unique import Unique
from tests.admin.conftest import client_for
from tests.schedules.steps import BEGIN, HOUR, make_schedule, new_node
from tests.testapp.models import Bill, Invoice

pytestmark = pytest.mark.django_db

LIST = reverse("admin:django_simpletask3_schedule_changelist")
ADD = reverse("admin:django_simpletask3_schedule_add")
OWN = {
    "key": "mine",
    "target": "testapp.Invoice",
    "cron": "30 7 * * *",
    "zone": "Europe/Berlin",
    "interval": "",
    "fields": '{"amount": 5}',
    "catch_up": "last",
    "overlap": "allow",
    "jitter": "0",
    "deadline": "",
}


@pytest.fixture(autouse=True)
def hand_clock(task_clock: Callable[..., TaskClock]) -> TaskClock:
    return task_clock(BEGIN)


@pytest.fixture
def operator(db: None) -> Callable[..., Client]:
    """Makes browsers: of a member of the staff with just these permissions."""

    def made(*codenames: str) -> Client:
        user = User.objects.create_user("ines", is_staff=True)
        found = Permission.objects.filter(codename__in=codenames)
        assert len(found) == len(codenames)
        user.user_permissions.set(found)
        return client_for(user)

    return made


@pytest.fixture
def of_the_code() -> Iterator[Schedule]:
    """A schedule that the code declares."""
    schedule("0 * * * *", timezone="UTC", fields={"amount": 2})(Invoice)
    for using, definitions in definitions_by_database().items():
        write_definitions(using, definitions)
    yield Schedule.objects.get(key="testapp.Invoice")
    setattr(Invoice, ATTRIBUTE, ())


def ask(client: Client, action: str, *rows: Schedule, **further: Any) -> Any:
    """What is shown when the action is chosen."""
    data = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(LIST, {**data, **further}, follow=True)


def act(client: Client, action: str, *rows: Schedule, reason: str = "", **further: Any) -> Any:
    """What is shown after the action was confirmed."""
    return ask(client, action, *rows, reason=reason, **{CONFIRMED_NAME: "yes"}, **further)


def effects_on(page: Any) -> dict[str, str]:
    """What each schedule becomes, or why it is left alone."""
    found = page.context["confirmation"]
    becomes = {row.label: str(row.becomes) for row in found.affected.rows}
    return becomes | {row.label: str(row.detail) for row in found.left_alone.rows}


def page_of(row: Schedule, page: str = "change") -> str:
    return reverse(f"admin:django_simpletask3_schedule_{page}", args=[row.pk])


def test_the_list_shows_last_and_next_ticks_with_their_tasks(
    superuser: Client, hand_clock: TaskClock, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        make_schedule(f"s{number}")
    make_schedule("gone", target="testapp.Gone")
    hand_clock.shift(HOUR)
    new_node().run()
    task = Invoice.objects.order_by("pk")[0]

    with django_assert_max_num_queries(12):
        page = superuser.get(LIST).content.decode()

    assert page.count("Nov. 30, 2026, 2 p.m. +0000") == 20
    assert f'href="/admin/testapp/invoice/{task.pk}/change/"' in page
    assert "not fired: the code no longer has it" in page


def test_all_ticks_are_in_the_zone_of_the_schedule(
    superuser: Client, hand_clock: TaskClock
) -> None:
    row = make_schedule(zone="Asia/Tokyo")
    hand_clock.shift(HOUR)
    new_node().run()

    for url, count in ((LIST, 2), (page_of(row), 11)):
        page = superuser.get(url).content.decode()
        assert (page.count("+0900"), page.count("+0000")) == (count, 0)


def test_the_page_of_a_schedule_of_the_code_is_read_only(
    superuser: Client, of_the_code: Schedule, hand_clock: TaskClock
) -> None:
    hand_clock.shift(HOUR)
    new_node().run()

    page = superuser.get(page_of(of_the_code)).content.decode()
    superuser.post(page_of(of_the_code), {**OWN, "cron": "1 1 1 1 *"})

    assert 'name="cron"' not in page
    assert 'name="_save"' not in page
    assert page.count("p.m. +0000") >= 11
    assert Schedule.objects.get(pk=of_the_code.pk).cron == "0 * * * *"


def test_many_are_disabled_and_enabled_with_a_reason(
    superuser: Client, hand_clock: TaskClock
) -> None:
    rows = [make_schedule(f"s{number}") for number in range(3)]

    page = act(superuser, "disable_selected", *rows[:2], reason="holidays").content.decode()
    assert "2 schedules were disabled." in page
    assert "disabled: holidays" in page
    hand_clock.shift(HOUR)
    new_node().run()
    assert list(ScheduleTick.objects.values_list("schedule", flat=True)) == ["s2"]

    act(superuser, "enable_selected", *rows, reason="back")
    enabled = Schedule.objects.filter(enabled=True)
    since = {row.key: row.active_since for row in enabled}
    assert since == {"s0": BEGIN + HOUR, "s1": BEGIN + HOUR, "s2": BEGIN}
    assert LogEntry.objects.filter(change_message="disabled: holidays").count() == 2
    assert LogEntry.objects.filter(change_message="enabled: back").count() == 2


def test_nothing_is_done_before_it_is_confirmed(superuser: Client) -> None:
    """The page says what would become of each schedule that was selected."""
    on, off = make_schedule("on"), make_schedule("off", enabled=False, reason="holidays")
    gone = make_schedule("gone", target="testapp.Gone")

    pages = {
        action: ask(superuser, f"{action}_selected", on, off, gone)
        for action in ("enable", "disable", "run_now")
    }

    effects = {action: effects_on(page) for action, page in pages.items()}
    assert effects == {
        "enable": {"off": "enabled", "gone": "is enabled already", "on": "is enabled already"},
        "disable": {"gone": "disabled", "on": "disabled", "off": "is disabled already"},
        "run_now": {"off": "", "on": "", "gone": "not fired: the code no longer has it"},
    }
    assert "1 of 3 selected schedules is enabled" in pages["enable"].content.decode()
    assert ">Disable 2 schedules</button>" in pages["disable"].content.decode()
    assert "disabled: holidays" in pages["disable"].content.decode()
    assert not Invoice.objects.exists()
    assert set(Schedule.objects.values_list("key", "enabled")) == {
        ("gone", True),
        ("off", False),
        ("on", True),
    }


def test_the_confirmation_leads_to_the_action(superuser: Client) -> None:
    row = make_schedule()
    page = ask(superuser, "disable_selected", row)
    [form] = re.findall(r'<form method="post">.*?</form>', page.content.decode(), re.S)
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="(\w*)"', form)

    superuser.post(LIST, {**dict(hidden), "reason": "holidays"})

    row.refresh_from_db()
    assert (row.enabled, row.reason) == (False, "holidays")


def test_schedules_that_come_after_the_page_are_left_alone(superuser: Client) -> None:
    row = make_schedule()
    page = ask(superuser, "disable_selected", row, select_across=1)
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="(.*?)"', page.content.decode())
    late = make_schedule("late")

    superuser.post(LIST, dict(hidden))

    assert [*Schedule.objects.filter(enabled=True)] == [late]


def test_at_most_a_hundred_are_run_at_once(superuser: Client) -> None:
    rows = [make_schedule(f"s{number:03}") for number in range(MAX_RUNS + 1)]

    page = ask(superuser, "run_now_selected", *rows)
    act(superuser, "run_now_selected", *rows)

    assert (page.context["affected"], page.context["total"]) == (MAX_RUNS, MAX_RUNS + 1)
    assert Invoice.objects.count() == MAX_RUNS


def test_what_joins_another_task_is_said(
    superuser: Client, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    unique = Unique("{number}", on_conflict="join")
    monkeypatch.setattr(Bill, "django_simpletask3_unique", unique)
    first = Bill.objects.create(number="7")
    row = make_schedule(target="testapp.Bill", fields={"number": "7"})

    page = act(superuser, "run_now_selected", row).content.decode()

    assert "There is a task with this key already." in page
    assert "0 tasks were enqueued." in page
    assert ScheduleTick.objects.get().task_key == str(first.pk)


def test_one_is_run_now_by_the_user(superuser: Client) -> None:
    row = make_schedule()

    page = act(superuser, "run_now_selected", row, reason="month end").content.decode()

    event = Invoice.objects.get().events.get()
    assert "1 task was enqueued." in page
    assert (event.actor, event.reason, event.data["schedule"]) == ("root", "month end", "own")
    assert ScheduleTick.objects.get().outcome == "run_now"


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"fields": {"amount": "x"}}, "must be an integer"),
        ({"fields": {"price": 1}}, "price is no column"),
        ({"target": "testapp.Gone"}, "the code no longer has it"),
    ],
)
def test_what_cannot_be_run_now_is_said(
    superuser: Client, columns: dict[str, Any], text: str
) -> None:
    page = act(superuser, "run_now_selected", make_schedule(**columns)).content.decode()

    assert text in page
    assert not Invoice.objects.exists()


def test_a_function_that_raises_stops_no_other_run(
    superuser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_error(tick: object) -> dict[str, Any]:
        raise LookupError("no rate today")

    schedule("0 * * * *", timezone="UTC", fields=raise_error)(Invoice)
    try:
        for using, definitions in definitions_by_database().items():
            write_definitions(using, definitions)
        rows = [*Schedule.objects.all(), make_schedule()]
        page = act(superuser, "run_now_selected", *rows).content.decode()
    finally:
        setattr(Invoice, ATTRIBUTE, ())

    assert "LookupError: no rate today" in page
    assert "1 task was enqueued." in page


def test_run_now_is_by_the_clock_of_the_database(
    superuser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, read = make_schedule(), list[str]()
    monkeypatch.setattr(clock, "refresh", read.append)

    act(superuser, "run_now_selected", row)

    assert read == ["default"]


@pytest.mark.parametrize("key", ["²", "٣", "9" * 30, "x"])
def test_a_key_that_is_none_is_not_copied(superuser: Client, key: str) -> None:
    assert superuser.get(ADD, {"copy": key}).status_code == 200


def test_an_own_schedule_is_made_changed_and_fired(
    superuser: Client, hand_clock: TaskClock
) -> None:
    assert superuser.post(ADD, OWN).status_code == 302
    row = Schedule.objects.get()
    assert (row.is_own, row.active_since, row.fields) == (True, BEGIN, {"amount": 5})

    hand_clock.shift(HOUR)
    superuser.post(page_of(row), {**OWN, "fields": '{"amount": 6}'})
    assert Schedule.objects.get().active_since == BEGIN
    superuser.post(page_of(row), {**OWN, "fields": '{"amount": 6}', "cron": "0 * * * *"})
    assert Schedule.objects.get().active_since == BEGIN + HOUR
    hand_clock.shift(HOUR)
    new_node().run()

    assert Invoice.objects.get().amount == 6


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"cron": "0 25 * * *"}, "&#x27;0 25 * * *&#x27; is no cron expression: Bad hour"),
        ({"zone": "Berlin"}, "there is no time zone &#x27;Berlin&#x27;"),
        ({"interval": "00:05:00"}, "Write either a cron expression or an interval."),
        ({"cron": "", "interval": "0"}, "the interval 0:00:00 is shorter than a second"),
        ({"cron": ""}, "Write either a cron expression or an interval."),
        ({"fields": "[1]"}, "Write an object"),
        ({"fields": '{"price": 1}'}, "price is no column of testapp.Invoice"),
        ({"fields": '{"amount": "x"}'}, "must be an integer"),
        ({"target": "testapp.Gone"}, "Select a valid choice"),
        ({"jitter": "-1"}, "greater than or equal to 0"),
    ],
)
def test_a_wrong_own_schedule_is_refused(
    superuser: Client, columns: dict[str, str], text: str
) -> None:
    page = superuser.post(ADD, {**OWN, **columns}).content.decode()

    assert text in page
    assert not Schedule.objects.exists()


def test_the_name_of_a_schedule_of_the_code_is_taken(
    superuser: Client, of_the_code: Schedule
) -> None:
    Schedule.objects.all().delete()

    page = superuser.post(ADD, {**OWN, "key": "testapp.invoice"}).content.decode()

    assert "The code has a schedule of this name." in page


def test_a_schedule_is_copied_as_an_own_one(superuser: Client, of_the_code: Schedule) -> None:
    page = act(superuser, "copy_selected", of_the_code).content.decode()

    assert 'name="cron" value="0 * * * *"' in page
    assert "amount" in page
    assert 'name="key" value=' not in page


def test_what_the_code_declares_is_not_deleted(
    superuser: Client, of_the_code: Schedule, hand_clock: TaskClock
) -> None:
    own = make_schedule()
    hand_clock.shift(HOUR)
    new_node().run()

    assert superuser.post(page_of(of_the_code, "delete"), {"post": "yes"}).status_code == 403
    act(superuser, "delete_selected", of_the_code, own, post="yes")
    assert Schedule.objects.count() == 2
    act(superuser, "delete_selected", own, post="yes")

    assert Schedule.objects.get() == of_the_code
    assert ScheduleTick.objects.get().schedule == "testapp.Invoice"


def test_an_orphaned_schedule_can_be_deleted(superuser: Client) -> None:
    row = make_schedule("testapp.Invoice:old", is_own=False)

    superuser.post(page_of(row, "delete"), {"post": "yes"})

    assert not Schedule.objects.exists()


def test_schedules_of_models_that_a_user_may_not_view_are_hidden(
    operator: Callable[..., Client],
) -> None:
    client = operator("view_schedule", "view_invoice")
    make_schedule("shown")
    hidden = make_schedule("hidden", target="testapp.Letter", fields={})

    page = client.get(LIST).content.decode()

    assert ("shown" in page, ">hidden<" in page) == (True, False)
    assert client.get(page_of(hidden)).status_code == 302


def test_actions_need_the_permission(operator: Callable[..., Client]) -> None:
    client = operator("view_schedule", "view_invoice", "add_invoice")
    row = make_schedule()

    for action in ("disable_selected", "run_now_selected", "copy_selected", "delete_selected"):
        act(client, action, row, post="yes")

    assert client.get(ADD).status_code == 403
    assert client.post(page_of(row), OWN).status_code == 403
    assert Schedule.objects.get().enabled
    assert not Invoice.objects.exists()


def test_who_may_not_add_tasks_enqueues_none(operator: Callable[..., Client]) -> None:
    client = operator("view_schedule", "change_schedule", "add_schedule", "view_invoice")
    row = make_schedule()

    page = act(client, "run_now_selected", row).content.decode()
    refused = client.post(ADD, OWN).content.decode()

    assert "You may not add tasks of this model." in page
    assert "Select a valid choice" in refused
    assert not Invoice.objects.exists()
