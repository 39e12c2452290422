"""An outage of Redis is logged once when it begins, once a minute, and once when it ends."""

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from django_simpletask3.exceptions import QueueUnavailable
from django_simpletask3.queue import connection, get_queue, outage
from tests.eventually import eventually
from tests.redis_servers import RedisServer
from tests.testapp.models import Invoice

OURS = "django_simpletask3"


@pytest.fixture(autouse=True)
def no_outage() -> Any:
    outage.forget()
    yield
    outage.forget()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let seconds pass for the outage."""
    passed = [time.monotonic()]
    monkeypatch.setattr(connection.time, "monotonic", lambda: passed[0])

    def go(seconds: float) -> None:
        passed[0] += seconds

    return go


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The names of what was logged at WARNING and above."""
    records = [r for r in caplog.records if r.name.startswith(OURS) and r.levelno > logging.INFO]
    return [record.getMessage().split()[0] for record in records]


@pytest.mark.django_db(transaction=True)
def test_hundreds_of_saves_in_an_outage_are_one_line_and_another_at_its_end(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    own_redis_server.kill()
    for _ in range(200):
        Invoice.objects.create()
    during = events(caplog)
    own_redis_server.start()

    eventually(lambda: Invoice.objects.create() and len(events(caplog)) > 1, interval=0.2)

    assert during == ["redis_unavailable"]
    assert events(caplog) == ["redis_unavailable", "redis_available"]
    failures = caplog.records[-1].args[0]  # type: ignore[index]
    assert failures >= 200


def test_a_long_outage_is_one_line_a_minute_with_the_count(
    clock: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(130):
        outage.record("gone")
        outage.count()
        clock(1.0)
    clock(5.0)
    outage.end()

    assert events(caplog) == [
        "redis_unavailable",
        "redis_still_unavailable",
        "redis_still_unavailable",
        "redis_available",
    ]
    assert "failures=121 seconds=60 error=gone" in caplog.text
    assert "failures=260 seconds=135" in caplog.text


def test_commands_that_are_answered_do_not_end_an_outage_in_which_others_are_refused(
    clock: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        outage.record("OOM", is_refusal=True)
        clock(3.0)
        outage.end()

    assert events(caplog) == ["redis_unavailable"]


@pytest.mark.django_db(transaction=True)
def test_a_redis_that_refuses_writes_is_one_line(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(own_redis_server.url) as client:
        client.config_set("maxmemory", 1)
    for _ in range(3):
        with pytest.raises(QueueUnavailable):
            get_queue().push("c", [("a", 1)])
        get_queue().has_lost_data()

    assert events(caplog) == ["redis_unavailable"]
