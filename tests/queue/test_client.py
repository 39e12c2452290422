"""The process's queue follows the settings and survives a fork."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.test import override_settings

from django_simpletask3.exceptions import InvalidSetting
from django_simpletask3.queue import get_queue, reset_queue
from tests.queue.conftest import CHANNEL

ROOT = Path(__file__).parents[2]
URL = "DJANGO_SIMPLETASK3_SIMQ_REDIS_URL"

FORK = """
import os, sys
from django.conf import settings
options = {"REDIS_URL": sys.argv[1], "PREFIX": "q"}
settings.configure(**{f"DJANGO_SIMPLETASK3_SIMQ_{name}": options[name] for name in options})
from django_simpletask3.queue import get_queue
parent = get_queue()
parent.push("c", [("a", 1)])
if not os.fork():
    child = get_queue()
    assert child is not parent
    child.push("c", [("b", 1)])
    parent.push("c", [("c", 1)])
    os._exit(0)
_, status = os.wait()
parent.push("c", [("d", 1)])
assert status == 0 and get_queue() is parent
"""


@pytest.fixture(autouse=True)
def fresh():
    reset_queue()
    yield
    reset_queue()


def test_there_is_one_queue_in_a_process():
    with ThreadPoolExecutor(8) as pool:
        queues = list(pool.map(lambda _: get_queue(), range(50)))

    assert len(set(map(id, queues))) == 1


def test_the_settings_are_read_when_the_queue_is_first_used(server, raw):
    with override_settings(
        DJANGO_SIMPLETASK3_SIMQ_REDIS_URL=server.url,
        DJANGO_SIMPLETASK3_SIMQ_PREFIX="other",
        DJANGO_SIMPLETASK3_SIMQ_DONE_ITEM_EXPIRE=77,
    ):
        get_queue().push(CHANNEL, [("a", 1)])
        get_queue().ack_many(get_queue().claim(CHANNEL, worker="w", lease=60))

    assert raw.ttl("other:item:a") == 77


def test_a_changed_setting_makes_a_new_queue():
    first = get_queue()

    with override_settings(DJANGO_SIMPLETASK3_SIMQ_PREFIX="x"):
        second = get_queue()

    assert second is not first
    assert second.prefix == "x"
    assert get_queue().prefix != "x"


def test_a_changed_setting_of_something_else_keeps_the_queue():
    first = get_queue()

    with override_settings(DEBUG=True):
        assert get_queue() is first


def test_a_url_that_cannot_be_used_is_named_by_its_setting():
    with override_settings(**{URL: "http://h"}), pytest.raises(InvalidSetting, match=URL):
        get_queue()


def test_parent_and_child_of_a_fork_do_not_share_connections(server, raw, queue):
    subprocess.run([sys.executable, "-c", FORK, server.url], cwd=ROOT, check=True)

    assert queue.waiting("c") == 4


def test_importing_the_queue_reads_no_settings_and_connects_to_nothing():
    program = (
        "import django_simpletask3.queue; from django.conf import settings; "
        "assert not settings.configured"
    )

    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_queue_of_a_project_without_redis_has_no_messages(server):
    with override_settings(**{URL: "none://"}):
        assert not get_queue().has_messages
    with override_settings(**{URL: server.url}):
        assert get_queue().has_messages
