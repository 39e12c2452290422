"""The list of schedules: one line for each, and what to do if there is none."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from django_simpletask3.schedules.tables import Outcome, Schedule, ScheduleTick
from django_simpletask3.testing import TaskClock
from tests.admin.conftest import client_for
from tests.schedules.steps import BEGIN, HOUR, make_schedule, new_node
from tests.testapp.models import Invoice

pytestmark = pytest.mark.django_db

LIST = reverse("admin:django_simpletask3_schedule_changelist")


@pytest.fixture(autouse=True)
def hand_clock(task_clock: Callable[..., TaskClock]) -> TaskClock:
    return task_clock(BEGIN)


def cells(client: Client, key: str) -> list[str]:
    """What the row of the schedule shows, without its tags; the box to select it is left out."""
    page = client.get(LIST).content.decode()
    row = next(r for r in re.findall(r"<tr role=.*?</tr>", page, re.DOTALL) if f">{key}" in r)
    found = re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)[1:]
    return [" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in found]


def test_a_schedule_says_when_it_runs_next_and_how_soon(superuser: Client) -> None:
    make_schedule("hourly")

    name, status, next_run, when, last = cells(superuser, "hourly")

    assert (name, status, when, last) == ("hourly testapp.Invoice", "enabled", "0 * * * * UTC", "")
    assert re.fullmatch(r"\d\d:00, in (1 h|\d+ min|\d+ s)", next_run)


def test_the_last_run_is_linked_to_its_task(superuser: Client, hand_clock: TaskClock) -> None:
    make_schedule("hourly")
    hand_clock.shift(HOUR)
    new_node().run()
    task = Invoice.objects.get()

    page = superuser.get(LIST).content.decode()

    link = re.search(rf'<a href="/admin/testapp/invoice/{task.pk}/change/">(.*?)</a>', page)
    assert link
    assert re.fullmatch(r"\d\d:00", link[1])
    assert cells(superuser, "hourly")[-1] == f"{link[1]} fired"


def test_without_the_permission_the_last_run_is_no_link(hand_clock: TaskClock) -> None:
    make_schedule("gone", target="testapp.Gone")
    ScheduleTick.objects.create(
        schedule="gone", tick=BEGIN, outcome=Outcome.FIRED, model="testapp.Invoice", task_key="1"
    )
    user = User.objects.create_user("ines", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_schedule"))

    page = client_for(user).get(LIST).content.decode()

    assert ">gone" in page
    assert "/admin/testapp/invoice/1/" not in page


def test_a_missed_tick_stands_out(superuser: Client) -> None:
    make_schedule("hourly")
    ScheduleTick.objects.create(
        schedule="hourly", tick=BEGIN - timedelta(hours=1), outcome=Outcome.MISSED
    )

    page = superuser.get(LIST).content.decode()

    assert cells(superuser, "hourly")[-1].endswith("missed")
    assert "st3-failed st3-colour" in page


def test_one_that_does_not_run_says_why(superuser: Client) -> None:
    make_schedule("hourly")
    make_schedule("gone", target="testapp.Gone")
    make_schedule("wrong")
    Schedule.objects.filter(key="hourly").update(enabled=False, reason="holidays")
    Schedule.objects.filter(key="wrong").update(cron="never")

    shown = {key: cells(superuser, key)[1:3] for key in ("hourly", "gone", "wrong")}

    assert shown["hourly"] == ["disabled", "“holidays”"]
    assert shown["gone"] == ["not fired", "not fired: the code no longer has it"]
    assert shown["wrong"][0] == "not fired"
    assert "never" in shown["wrong"][1]


def test_an_empty_list_says_how_a_schedule_is_made(superuser: Client) -> None:
    page = superuser.get(LIST).content.decode()

    assert "There is no schedule" in page
    assert "@schedule(" in page
    assert "Add schedule" in page
    assert 'id="result_list"' not in page


def test_a_filter_that_finds_nothing_can_be_cleared(superuser: Client) -> None:
    make_schedule("hourly")

    page = superuser.get(LIST, {"q": "daily"}).content.decode()

    assert "No schedule fits the filter" in page
    assert '<a class="st3-button" href="?">Clear all filters</a>' in page
    assert "@schedule(" not in page


def test_the_search_keeps_the_filter(superuser: Client) -> None:
    make_schedule("hourly")

    page = superuser.get(LIST, {"enabled__exact": "1"}).content.decode()

    assert '<input type="hidden" name="enabled__exact" value="1">' in page
