"""Starting and stop again and again: nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from django.conf import settings

from tests.eventually import eventually
from tests.testapp.models import Invoice
from tests.worker.conftest import Start
from tests.worker.processes import group

pytestmark = pytest.mark.one_server

ROOT = Path(__file__).parents[2]
ROUNDS = 100
ROUNDS_OF_NODES = 8


def test_many_rounds_of_a_process_leave_nothing(transactional_db: None, redis_url: str) -> None:
    counted = subprocess.run(
        [sys.executable, "-m", "tests.worker.start_stop_cycles", str(ROUNDS)],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )

    assert counted.returncode == 0, counted.stderr[-4000:]
    found = json.loads(counted.stdout)
    assert found["after"] == found["before"]
    assert Invoice.objects.succeeded().count() > ROUNDS


def test_rounds_of_a_node_leave_nothing(start_server: Start, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        # This process's own connection is open before it is counted.
        Invoice.objects.create()
        clients = len(client.client_list())
        for number in range(ROUNDS_OF_NODES):
            task = Invoice.objects.create()
            node = start_server("--models", "testapp.Invoice", "--processes", "2")
            eventually(Invoice.objects.filter(pk=task.pk).succeeded().exists)
            node.send_signal(signal.SIGTERM)
            output, _ = node.communicate(timeout=60)
            assert (node.returncode, group(node.pid)) == (0, []), f"round {number}: {output}"

        eventually(lambda: len(client.client_list()) == clients)
        mine = client.scan_iter(f"{settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX}*")
        assert [key for key in mine if client.ttl(key) < 0 and not key.endswith(b":x:mark")] == []
    assert Invoice.objects.succeeded().count() == 1 + ROUNDS_OF_NODES
