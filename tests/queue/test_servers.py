"""Servers that are unreachable, full, frozen, read-only, new, old, encrypted or moved."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from django_simpletask3.exceptions import QueueUnavailable
from django_simpletask3.queue import Waiter
from tests.eventually import eventually
from tests.queue.conftest import CHANNEL, program
from tests.redis_servers import RedisServer

CALLS = {
    "push": lambda q, m: q.push(CHANNEL, [("b", 1)]),
    "push_with_priority": lambda q, m: q.push(CHANNEL, [("p", 1)], priorities={"p": -5}),
    "push_hints": lambda q, m: q.push_hints(CHANNEL, [("h", 5.0)]),
    "claim": lambda q, m: q.claim(CHANNEL, worker="w", lease=60),
    "wait": lambda q, m: q.claim(CHANNEL, worker="w", lease=60, timeout=0.2),
    "ack": lambda q, m: q.ack_many([m]),
    "drop": lambda q, m: q.drop_many([m]),
    "ret": lambda q, m: q.ret_many([m]),
    "dead_letter": lambda q, m: q.dead_letter(m, "x"),
    "dead_letters": lambda q, m: q.dead_letters(CHANNEL),
    "heartbeat": lambda q, m: q.heartbeat("w", [m], lease=60),
    "recover": lambda q, m: q.recover(),
    "adopt": lambda q, m: q.adopt(),
    "missing": lambda q, m: q.missing(CHANNEL, ["a"]),
    "waiting": lambda q, m: q.waiting(CHANNEL),
    "place": lambda q, m: q.place(CHANNEL, "a"),
    "running": lambda q, m: q.running(CHANNEL),
    "cancel_many": lambda q, m: q.cancel_many(CHANNEL, ["a"]),
    "query": lambda q, m: q.query("a"),
    "cancel": lambda q, m: q.cancel("a"),
    "check_server": lambda q, m: q.check_server(),
    "pop": lambda q, m: q.pop(CHANNEL, timeout=0),
    "update_worker_status": lambda q, m: q.update_worker_status("w"),
    "get_worker_status": lambda q, m: q.get_worker_status("w"),
}
WRITES = [
    "push",
    "push_with_priority",
    "push_hints",
    "claim",
    "wait",
    "ack",
    "drop",
    "ret",
    "dead_letter",
    "heartbeat",
    "recover",
    "cancel_many",
]


def every_call(calls=CALLS):
    return pytest.mark.parametrize("call", calls)


@every_call()
def test_a_server_that_is_away_is_reported_as_unavailable(make_queue, claimed, tmp_path, call):
    away = make_queue(f"unix://user:geheim@{tmp_path}/none.sock")

    with pytest.raises(QueueUnavailable) as report:
        CALLS[call](away, claimed)

    assert "geheim" not in str(report.value)


@every_call(WRITES)
def test_a_server_that_only_reads_is_reported_as_unavailable(queue, claimed, raw, call):
    raw.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(QueueUnavailable, match=r"ReadOnly|READONLY"):
            CALLS[call](queue, claimed)
    finally:
        raw.execute_command("REPLICAOF", "NO", "ONE")

    assert queue.ack_many([claimed]) == [True]


@every_call(WRITES)
def test_a_server_that_lost_the_scripts_receives_them_again(queue, claimed, raw, call):
    CALLS[call](queue, claimed)

    raw.script_flush()

    CALLS[call](queue, claimed)


@pytest.fixture
def full(queue, raw):
    """Fill the memory of the server."""

    def fill():
        raw.config_set("maxmemory", 1)

    yield fill
    raw.config_set("maxmemory", 0)


def test_a_full_server_refuses_a_push_and_keeps_everything(queue, raw, full):
    queue.push(CHANNEL, [("a", 1)])
    full()

    with pytest.raises(QueueUnavailable, match=r"OOM|OutOfMemory"):
        queue.push(CHANNEL, [("a", 2), ("b", 2)])

    assert queue.query("a")["data"] == 1
    assert queue.waiting(CHANNEL) == 1


def test_a_full_server_still_lets_the_queue_be_worked_off(queue, raw, full, expire):
    queue.push(CHANNEL, [(name, 1) for name in "abcdef"])
    full()

    held = queue.claim(CHANNEL, worker="w", lease=60, limit=6)
    assert queue.heartbeat("w", held, lease=60) == []
    assert queue.ret_many(held[:1]) == [True]
    assert queue.ack_many(held[1:2]) == [True]
    assert queue.drop_many(held[2:3]) == [True]
    assert queue.dead_letter(held[3], "x") is True
    queue.cancel_many(CHANNEL, ["e"])
    assert queue.cancel("f") is None
    raw.config_set("maxmemory", 0)
    expire()
    full()
    assert queue.recover()["canceled"] == 1
    assert queue.adopt() == 0


def test_a_message_moved_before_the_server_was_full_can_be_claimed(queue, raw, full):
    queue.push(CHANNEL, [("a", 1)])
    raw.rpoplpush(queue.get_mq_key(CHANNEL), queue.get_running_key(CHANNEL, "t"))
    full()

    [row] = queue.claim_rows(CHANNEL, "w", 60, Waiter("t"))

    assert row[0] == b"a"


def test_waiting_at_a_full_server_is_refused_and_loses_nothing(queue, raw, full):
    full()

    with pytest.raises(QueueUnavailable, match=r"OOM|OutOfMemory"):
        queue.claim(CHANNEL, worker="w", lease=60, timeout=0.2)

    raw.config_set("maxmemory", 0)
    queue.push(CHANNEL, [("a", 1)])
    assert len(queue.claim(CHANNEL, worker="w", lease=60, timeout=0.2)) == 1


def test_a_frozen_server_holds_up_a_push_for_two_seconds_at_most(start_server, make_queue):
    own = start_server()
    queue = make_queue(own.url)
    queue.push(CHANNEL, [("a", 1)])
    own.freeze()
    started = time.monotonic()

    with pytest.raises(QueueUnavailable):
        queue.push(CHANNEL, [("b", 1)])

    assert time.monotonic() - started < 2
    own.thaw()
    assert queue.push(CHANNEL, [("b", 1)])[0] in ("pushed", "queued")


def test_a_host_that_answers_nothing_holds_up_a_push_for_two_seconds_at_most(make_queue):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent:
        queue = make_queue(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()

        with pytest.raises(QueueUnavailable):
            queue.push(CHANNEL, [("b", 1)])

    assert time.monotonic() - started < 2


def test_a_restarted_server_is_found_by_the_next_push(start_server, make_queue):
    own = start_server()
    queue = make_queue(own.url)
    queue.push(CHANNEL, [("a", 1)])
    own.kill()
    own.start()

    assert queue.push(CHANNEL, [("a", 1)]) == ["pushed"]


@pytest.mark.one_server
def test_a_wait_outlasts_the_read_timeout_of_ordinary_commands(queue):
    started = time.monotonic()

    assert queue.claim(CHANNEL, worker="w", lease=60, timeout=2.2) == []

    assert 2.1 < time.monotonic() - started < 3


def test_a_wait_longer_than_one_blocking_command_goes_on(queue, monkeypatch):
    monkeypatch.setattr("django_simpletask3.queue.connection.WAITS", (0.1,))
    started = time.monotonic()

    assert queue.claim(CHANNEL, worker="w", lease=60, timeout=0.35) == []

    assert time.monotonic() - started > 0.3


def test_closing_spares_a_command_of_another_thread(queue, raw):
    with ThreadPoolExecutor() as others:
        claim = others.submit(queue.claim, CHANNEL, worker="w", lease=60, timeout=10)
        eventually(lambda: raw.info("clients")["blocked_clients"])

        queue.close()

        queue.push(CHANNEL, [("a", 1)])
        assert [message.id for message in claim.result()] == ["a"]


def test_a_server_before_6_2_is_waited_on_with_the_older_command(start_server, make_queue):
    own = start_server("--rename-command", "BLMOVE", "")
    queue = make_queue(own.url)
    messages = []
    waiter = threading.Thread(
        target=lambda: messages.extend(queue.claim(CHANNEL, worker="w", lease=60, timeout=5))
    )
    waiter.start()
    with redis.Redis.from_url(own.url) as raw:
        eventually(lambda: raw.info("clients")["blocked_clients"] == 1)

    queue.push(CHANNEL, [("a", 1)])

    waiter.join()
    assert queue.ack_many(messages) == [True]


def test_a_wrong_password_is_reported_without_it(start_server, make_queue):
    own = start_server()
    with redis.Redis.from_url(own.url) as raw:
        raw.config_set("requirepass", "right")
    queue = make_queue(f"unix://:geheim@{own.socket}")

    with pytest.raises(QueueUnavailable) as report:
        queue.push(CHANNEL, [("a", 1)])

    assert "geheim" not in str(report.value)


def test_a_cluster_is_served_under_a_prefix_that_is_a_hash_tag(
    free_port, start_server, make_queue, tmp_path
):
    own = start_server("--cluster-enabled", "yes", "--dir", str(tmp_path), "--port", str(free_port))
    with redis.Redis.from_url(own.url) as raw:
        raw.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        eventually(lambda: b"cluster_state:ok" in raw.execute_command("CLUSTER", "INFO"))
    queue = make_queue(own.url, prefix="{q}")

    queue.push(CHANNEL, [("a", 1), ("b", 1)])
    held = queue.claim(CHANNEL, worker="w", lease=60, limit=2)

    assert queue.ret_many(held[:1]) == [True]
    assert queue.ack_many(held[1:]) == [True]
    assert len(queue.claim(CHANNEL, worker="w", lease=60, timeout=1)) == 1


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture
def certificate(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out cert.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command.split(), *names], cwd=tmp_path, capture_output=True, check=True)
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def test_an_encrypted_server_is_reached(certificate, free_port, tmp_path, make_queue):
    cert, key = map(str, certificate)
    options = ["--tls-port", str(free_port), "--tls-cert-file", cert, "--tls-key-file", key]
    options += ["--tls-ca-cert-file", cert, "--tls-auth-clients", "no"]
    own = RedisServer(program("redis7"), tmp_path / "tls.sock", *options)
    try:
        own.start()
    except AssertionError:
        pytest.skip("this redis-server was built without TLS")
    try:
        queue = make_queue(f"rediss://localhost:{free_port}?ssl_ca_certs={cert}")
        queue.push(CHANNEL, [("a", 1)])
        assert len(queue.claim(CHANNEL, worker="w", lease=60, timeout=1)) == 1
        with pytest.raises(QueueUnavailable):
            make_queue(f"rediss://localhost:{free_port}").push(CHANNEL, [("a", 1)])
    finally:
        own.kill()


class Sentinels:
    """A master, a replica and a sentinel with a password, all on ports of their own."""

    def __init__(self, folder, ports):
        self.servers = []
        self.master, self.replica, self.sentinel = ports
        self._start(folder / "m", self.master, "--repl-diskless-sync-delay", "0")
        self._start(folder / "r", self.replica, "--replicaof", "127.0.0.1", str(self.master))
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {self.sentinel}\nunixsocket {folder}/s\nrequirepass lookout\n"
            f"sentinel monitor mymaster 127.0.0.1 {self.master} 1\n"
            "sentinel down-after-milliseconds mymaster 200\n"
            "sentinel failover-timeout mymaster 2000\n"
        )
        self.watch = subprocess.Popen(
            [program("redis7"), str(config), "--sentinel"], stdout=subprocess.DEVNULL
        )
        self.url = f"sentinel://127.0.0.1:{self.sentinel}/mymaster/0?sentinel_password=lookout"
        self.client = redis.Redis(port=self.sentinel, password="lookout")
        eventually(self.knows_the_replica)

    def _start(self, path, port, *options):
        server = RedisServer(program("redis7"), path, "--port", str(port), *options)
        self.servers.append(server)
        server.start()

    def knows_the_replica(self):
        try:
            replicas = self.client.execute_command("SENTINEL", "REPLICAS", "mymaster")
        except redis.RedisError:
            return False
        return "master-link-status" in str(replicas) and "'ok'" in str(replicas)

    def close(self):
        self.client.close()
        self.watch.kill()
        self.watch.wait()
        for server in self.servers:
            server.kill()


def ports(count):
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return found


def test_after_a_failover_the_queue_goes_on_at_the_new_master(tmp_path, make_queue):
    program("redis7")
    sentinels = Sentinels(tmp_path, ports(3))
    try:
        queue = make_queue(sentinels.url)
        queue.push(CHANNEL, [("a", 1)])
        with redis.Redis(port=sentinels.replica) as replica:
            eventually(lambda: replica.exists("q:item:a"))
        sentinels.servers[0].kill()

        [message] = eventually(lambda: claim_or_none(queue), timeout=15)

        assert message.id == "a"
        assert queue.ack_many([message]) == [True]
    finally:
        sentinels.close()


def claim_or_none(queue):
    try:
        return queue.claim(CHANNEL, worker="w", lease=60)
    except QueueUnavailable:
        return None
