"""Keys that are false: a number 0 and a text "0" name rows like any other."""

from typing import Any

import pytest
from django.db import connection

from django_simpletask3.execution import finish, perform, start
from django_simpletask3.queue import get_queue
from django_simpletask3.states import Status
from tests.testapp.models import Numbered, TextKeyed

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = "node:1:token"
ZERO = [
    pytest.param(
        lambda: Numbered.objects.create(number=0),
        id="a number",
        marks=pytest.mark.skipif(
            connection.vendor == "mysql", reason="0 asks for a number to be drawn here"
        ),
    ),
    pytest.param(lambda: TextKeyed.objects.create(id="0"), id="a text"),
    pytest.param(lambda: TextKeyed.objects.create(id=" "), id="a blank"),
]


@pytest.mark.parametrize("create", ZERO)
def test_a_row_whose_key_is_false_is_run_and_its_message_settled(create: Any) -> None:
    task = create()
    channel = task.get_event_channel()

    messages = get_queue().claim(channel, worker=WORKER, limit=10, lease=60)
    runs = start.start(type(task), messages, worker=WORKER, lease=60)[0]
    for run in runs:
        perform.perform(run)
    finish.finish(runs)

    task.refresh_from_db()
    assert (task.status, task.result_data) == (Status.SUCCESS, task.pk)
    assert (get_queue().waiting(channel), get_queue().running(channel)) == (0, 0)
