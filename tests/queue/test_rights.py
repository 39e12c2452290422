"""The rights that the documentation lists are enough, and a missing one is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from django_simpletask3.exceptions import QueueRefused, QueueUnavailable
from tests.queue.conftest import CHANNEL, PREFIX
from tests.queue.test_servers import CALLS

pytestmark = pytest.mark.once

SCRIPTS = Path("django_simpletask3/queue/scripts")
PAGE = Path("docs/reference/queue.md").read_text()
[COMMAND] = re.findall(r"^ACL SETUSER .*$", PAGE, re.MULTILINE)
GRANTED = sorted(rule[1:] for rule in COMMAND.split() if rule.startswith("+"))
OPTIONAL = {"info", "select"}
#: Found out by their use: reading the list of clients is worth no check.
UNCHECKED = {"client|list", "eval"}


def grant(client, prefix, *without):
    """Create the user ``limited`` with the documented rights, but for those of ``without``."""
    command = COMMAND.replace("simpletask3", "limited").replace("PASSWORD", "hush-hush")
    rules = command.replace("~simq:", f"~{prefix}:").split()
    client.execute_command(*rules, *(f"-{name}" for name in without))


def prepared(queue):
    """What is called before rights are tried."""
    queue.push(CHANNEL, [("a", 1)])
    return queue.claim(CHANNEL, worker="w", lease=60)[0]


@pytest.fixture
def limited(raw, server, make_queue):
    """A queue whose user has the documented rights, but for those of ``without``."""

    def make(*without: str):
        grant(raw, PREFIX, *without)
        return make_queue(server.url.replace("unix://", "unix://limited:hush-hush@"))

    yield make
    raw.execute_command("ACL", "DELUSER", "limited")


def use_all(queue) -> None:
    """Use every command."""
    queue.check_rights()
    message = prepared(queue)
    for call in CALLS.values():
        call(queue, message)
    queue.dead_letter(prepared(queue), "for a test")
    queue.requeue_dead_letters(CHANNEL)
    queue.wake(), queue.write_marker(), queue.has_lost_data()
    queue.report("w", {}), queue.workers(), queue.deregister_worker("w")
    queue.seconds_to_next_expiry(), queue.seconds_to_next_expiry()
    queue.expire_leases(["w"]), queue.get_running_keys(), queue.cancel("a")
    queue.lpush(CHANNEL, 1, "b"), queue.pop(CHANNEL), queue.ack("b"), queue.version()


def test_the_documented_rights_are_enough(limited):
    queue = limited()

    use_all(queue)

    assert queue.version()


def test_each_command_of_a_script_is_among_those_that_are_checked():
    check = (SCRIPTS / "rights.lua").read_text()
    checked = set(re.findall(r"\{'([A-Z]+)'", check))
    used = {
        name
        for path in SCRIPTS.glob("*.lua")
        for name in re.findall(r"call\('([A-Z]+)'", path.read_text())
    }

    assert checked == used
    assert {name.lower() for name in checked} <= set(GRANTED)


@pytest.mark.parametrize("name", [n for n in GRANTED if n not in OPTIONAL])
def test_a_missing_right_is_one_refusal_that_names_it(limited, raw, name):
    raw.script_flush()
    queue = limited(name if not name.startswith("client") else "client")
    named = name.partition("|")[0].upper()

    if name not in UNCHECKED:
        with pytest.raises(QueueRefused, match=rf"may not use .*\b{named}\b"):
            queue.check_rights()
    with pytest.raises(QueueRefused, match=rf"may not use .*\b{named}\b.*queue\.md") as refusal:
        use_all(queue)

    assert "hush-hush" not in str(refusal.value)


def test_without_info_only_the_figures_are_missing(limited):
    queue = limited("info")

    use_all(queue)

    assert queue.version() == ""
    [warning] = queue.check_server()
    assert "may not use INFO" in warning


def test_without_the_keys_the_refusal_names_them(limited, raw):
    queue = limited()
    raw.execute_command("ACL", "SETUSER", "limited", "resetkeys", "~other:*")

    for call in (queue.check_rights, lambda: prepared(queue), lambda: queue.waiting(CHANNEL)):
        with pytest.raises(QueueRefused, match=r"may not use the keys q:\*"):
            call()


def test_a_wrong_password_is_a_refusal(server, make_queue):
    queue = make_queue(server.url.replace("unix://", "unix://unknown:geheim@"))

    with pytest.raises(QueueRefused) as refusal:
        queue.waiting(CHANNEL)

    assert "geheim" not in str(refusal.value)


def test_a_server_that_is_away_refuses_nothing(make_queue, tmp_path):
    away = make_queue(f"unix://{tmp_path}/none.sock")

    with pytest.raises(QueueUnavailable) as problem:
        away.waiting(CHANNEL)

    assert not isinstance(problem.value, QueueRefused)
