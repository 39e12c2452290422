"""Idle connections are used again, unless something is wrong with them."""

import socket
import threading
from typing import Any

import pytest
import redis

from django_simpletask3.queue import Queue
from django_simpletask3.queue.connection import ConnectionPool
from django_simpletask3.queue.scripts import _PURPOSE
from tests.eventually import eventually


@pytest.fixture
def pool(queue: Queue) -> ConnectionPool:
    return queue.db.connection_pool


def ask(connection: Any) -> int:
    """The number that the server has given the connection."""
    connection.send_command("CLIENT", "ID")
    return int(connection.read_response())


def number_of(pool: ConnectionPool) -> int:
    connection = pool.get_connection(*_PURPOSE)
    try:
        return ask(connection)
    finally:
        pool.release(connection)


def test_an_idle_connection_is_used_again(pool: ConnectionPool) -> None:
    assert len({number_of(pool) for _ in range(10)}) == 1


def test_two_callers_do_not_get_the_same(pool: ConnectionPool) -> None:
    number_of(pool)

    one, two = pool.get_connection(*_PURPOSE), pool.get_connection(*_PURPOSE)

    assert ask(one) != ask(two)
    pool.release(one)
    pool.release(two)


def test_threads_do_not_get_the_same(pool: ConnectionPool) -> None:
    wrong: list[Any] = []

    def work() -> None:
        for number in range(300):
            connection = pool.get_connection(*_PURPOSE)
            connection.send_command("ECHO", f"{threading.get_ident()}:{number}")
            if connection.read_response().decode() != f"{threading.get_ident()}:{number}":
                wrong.append(number)
            pool.release(connection)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong


def test_a_connection_that_the_server_has_closed_is_replaced(
    pool: ConnectionPool, raw: redis.Redis
) -> None:
    first = number_of(pool)
    raw.client_kill_filter(_id=str(first))
    eventually(lambda: str(first) not in {client["id"] for client in raw.client_list()})

    assert number_of(pool) != first


def test_a_connection_with_an_unread_reply_is_replaced(pool: ConnectionPool) -> None:
    connection = pool.get_connection(*_PURPOSE)
    first = ask(connection)
    connection.send_command("ECHO", "unread")
    eventually(connection.can_read)
    pool.release(connection)

    assert number_of(pool) != first
    assert number_of(pool) == number_of(pool)


def test_a_connection_that_is_given_back_twice_has_one_user(pool: ConnectionPool) -> None:
    connection = pool.get_connection(*_PURPOSE)
    pool.release(connection)
    pool.release(connection)

    one, two = pool.get_connection(*_PURPOSE), pool.get_connection(*_PURPOSE)

    assert one is not two
    pool.release(one)
    pool.release(two)


@pytest.mark.skipif(redis.VERSION < (6,), reason="redis-py before 6 takes any connection")
def test_the_connection_of_another_pool_is_not_given_out(
    pool: ConnectionPool, queue: Queue
) -> None:
    other = ConnectionPool(**pool.connection_kwargs, connection_class=pool.connection_class)
    foreign = other.get_connection(*_PURPOSE)

    pool.release(foreign)

    connections = [pool.get_connection(*_PURPOSE) for _ in range(3)]
    assert foreign not in connections
    for connection in connections:
        pool.release(connection)
    other.disconnect()


def test_a_connection_whose_server_moves_is_replaced(pool: ConnectionPool) -> None:
    connection = pool.get_connection(*_PURPOSE)
    first = ask(connection)
    if not hasattr(connection, "mark_for_reconnect"):
        pytest.skip("this redis-py knows no server that moves")
    pool.release(connection)
    connection.mark_for_reconnect()

    assert number_of(pool) != first


def test_a_connection_that_was_closed_after_an_error_is_opened_again(pool: ConnectionPool) -> None:
    connection = pool.get_connection(*_PURPOSE)
    connection.disconnect()
    pool.release(connection)

    assert number_of(pool) > 0


def test_a_server_that_is_away_is_tried_once(
    pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = pool.get_connection(*_PURPOSE)
    connection.disconnect()
    pool.release(connection)
    tries: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        tries.append(arguments)
        raise ConnectionRefusedError

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        with pytest.raises(redis.ConnectionError):
            pool.get_connection(*_PURPOSE)

    assert len(tries) == 1
    assert number_of(pool) > 0


def test_a_closed_pool_has_no_idle_connection(pool: ConnectionPool, raw: redis.Redis) -> None:
    used, idle = pool.get_connection(*_PURPOSE), pool.get_connection(*_PURPOSE)
    numbers = str(ask(used)), str(ask(idle))
    pool.release(idle)

    pool.disconnect(inuse_connections=False)

    eventually(lambda: numbers[1] not in {client["id"] for client in raw.client_list()})
    assert ask(used) == int(numbers[0])
    pool.release(used)


def test_a_new_process_uses_no_connection_of_the_old_one(
    pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = number_of(pool)
    monkeypatch.setattr("os.getpid", lambda: -1)

    assert number_of(pool) != first
