"""The pages of a site that stores local times, where USE_TZ is False."""

from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.urls import reverse

from django_simpletask3.states import EventKind, Status
from django_simpletask3.transitions.writer import apply
from tests.admin.pages import url
from tests.schedules.steps import make_schedule
from tests.steps import bring_to, create_task, run_command
from tests.testapp.models import Invoice

PREFIX = "admin:django_simpletask3_"
PAGES = (
    "dashboard_changelist",
    "dashboard_recoveries",
    "dashboard_export",
    "ledger_changelist",
    "ledger_result",
    "schedule_changelist",
    "schedule_add",
)


@pytest.fixture
def local_times(settings: Any) -> None:
    settings.USE_TZ = False
    for connection in connections.all():
        connection.ensure_timezone()


@pytest.mark.usefixtures("local_times")
def test_every_page_opens_where_local_times_are_stored(superuser: Client) -> None:
    create_task(Invoice)
    for status in (Status.RUNNING, Status.FAILED):
        task = bring_to(create_task(Invoice), status)
    lost = bring_to(create_task(Invoice), Status.RUNNING)
    apply(lost, EventKind.RECOVER, reason="worker_died", data={"lost_worker": "node-1"})
    schedule = make_schedule("own")
    run_command("django-simpletask3-audit", "--model", "testapp.Invoice")
    addresses = [
        *(reverse(f"{PREFIX}{name}") for name in PAGES),
        reverse(f"{PREFIX}schedule_change", args=[schedule.pk]),
        f"{reverse(f'{PREFIX}dashboard_changelist')}?period=month",
        f"{reverse(f'{PREFIX}dashboard_recoveries')}?since=2026-01-01&until=2036-01-01",
        url(Invoice),
        f"{url(Invoice)}?task-time=done-today",
        f"{url(Invoice)}?task-since=2026-11-28T09:00",
        *(url(invoice) for invoice in (lost, task)),
    ]

    found = {address: superuser.get(address).status_code for address in addresses}

    assert found == dict.fromkeys(addresses, 200)
