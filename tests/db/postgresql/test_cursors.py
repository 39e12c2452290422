"""A cursor that is kept does what a new one would have done."""

import asyncio
import functools
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import django
import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import OperationalError, ProgrammingError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test.utils import CaptureQueriesContext

from django_simpletask3.db.postgresql import cursors
from django_simpletask3.db.postgresql.cursors import execute, is_of_django

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connections["default"].vendor != "postgresql", reason="only PostgreSQL's statements do"
    ),
]
SQL = "SELECT %s::text"


@pytest.fixture
def connection() -> Iterator[Any]:
    connection: Any = connections["default"]
    connection.ensure_connection()
    # A test case of Django that may not use a database leaves methods at its connection, which
    # look like those of a tool.
    for name in (cursors._ATTRIBUTE, *cursors._NAMES):
        vars(connection).pop(name, None)
    yield connection
    vars(connection).pop(cursors._ATTRIBUTE, None)


@pytest.fixture
def made(connection: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The cursors that the driver makes."""
    made: list[Any] = []
    session = type(connection.connection)
    make: Callable[..., Any] = session.cursor

    def cursor(self: Any, *arguments: Any) -> Any:
        made.append(make(self, *arguments))
        return made[-1]

    monkeypatch.setattr(session, "cursor", cursor)
    return made


def test_one_cursor_serves_many_statements(connection: Any, made: list[Any]) -> None:
    texts = [str(number) for number in range(10)]

    assert [execute(connection, SQL, [text]) for text in texts] == [[(text,)] for text in texts]
    assert len(made) == 1


def test_a_new_session_has_a_new_cursor(connection: Any, made: list[Any]) -> None:
    execute(connection, SQL, ["a"])
    session = connection.connection
    connection.close()

    assert execute(connection, SQL, ["b"]) == [("b",)]
    assert made[0].connection is session
    assert made[-1].connection is connection.connection


def test_a_statement_that_failed_leaves_no_cursor(connection: Any, made: list[Any]) -> None:
    with pytest.raises(ProgrammingError):
        execute(connection, "SELECT nonsense FROM nowhere", [])

    assert cursors._ATTRIBUTE not in vars(connection)
    assert execute(connection, SQL, ["a"]) == [("a",)]


def test_large_parameters_are_not_kept_in_memory(connection: Any) -> None:
    execute(connection, SQL, ["x" * 100_000])
    assert cursors._ATTRIBUTE not in vars(connection)

    execute(connection, SQL, ["x"])
    assert cursors._ATTRIBUTE in vars(connection)


def test_a_wrapper_of_statements_may_execute_others(connection: Any) -> None:
    seen: list[str] = []

    def note(call: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        seen.append(parameters[0])
        answer = call(sql, parameters, many, context)
        if parameters == ["outer"]:
            assert execute(connection, SQL, ["inner"]) == [("inner",)]
        return answer

    with connection.execute_wrapper(note):
        assert execute(connection, SQL, ["outer"]) == [("outer",)]

    assert seen == ["outer", "inner"]


def test_statements_are_captured(connection: Any) -> None:
    execute(connection, SQL, ["before"])
    with CaptureQueriesContext(connection) as captured:
        execute(connection, SQL, ["noted"])

    assert ["noted" in query["sql"] for query in captured] == [True]


def test_a_tool_that_replaces_the_cursors_of_a_connection_is_asked(
    connection: Any, made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    cursor = connection.cursor

    def traced() -> Any:
        asked.append("cursor")
        return cursor()

    execute(connection, SQL, ["before"])
    monkeypatch.setattr(connection, "cursor", traced)

    assert execute(connection, SQL, ["a"]) == [("a",)]
    assert asked == ["cursor"]


@pytest.mark.parametrize("name", ["cursor", "_cursor", "create_cursor"])
def test_a_backend_that_makes_cursors_of_its_own_makes_each(
    connection: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    method = getattr(type(connection), name)

    def make(self: Any, *arguments: Any) -> Any:  # as django-tenants does, to choose a schema
        asked.append(name)
        return method(self, *arguments)

    execute(connection, SQL, ["before"])
    monkeypatch.setattr(type(connection), name, make)

    assert [execute(connection, SQL, [text]) for text in "ab"] == [[("a",)], [("b",)]]
    assert asked == [name, name]


def test_a_statement_that_a_wrapper_withholds_has_no_old_result(connection: Any) -> None:
    execute(connection, SQL, ["before"])

    with (
        connection.execute_wrapper(lambda *_: None),
        pytest.raises(ProgrammingError),
    ):
        execute(connection, SQL, ["withheld"])


def test_a_method_that_a_tool_has_replaced_is_not_of_django() -> None:
    method = BaseDatabaseWrapper._cursor
    of_tool = method.__code__.replace(co_filename=f"{django.__path__[0]}_traced/base.py")

    assert is_of_django(method)
    assert not is_of_django(FunctionType(of_tool, {}))
    assert not is_of_django(functools.partial(method))


def test_an_error_of_the_result_is_one_of_django(connection: Any) -> None:
    execute(connection, SQL, ["before"])

    with pytest.raises(ProgrammingError):
        execute(connection, "SET client_min_messages TO warning", [])


def test_a_session_that_was_closed_in_a_transaction_is_refused_as_ever(connection: Any) -> None:
    execute(connection, SQL, ["before"])

    def use_closed() -> None:
        with transaction.atomic():
            connection.close()
            execute(connection, SQL, ["a"])

    with pytest.raises(OperationalError, match="closed"):
        use_closed()


def test_a_session_of_bad_health_is_replaced(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(connection, SQL, ["a"])
    session = connection.connection
    monkeypatch.setattr(connection, "health_check_enabled", True)
    monkeypatch.setattr(connection, "health_check_done", False)
    session.close()

    assert execute(connection, SQL, ["b"]) == [("b",)]
    assert connection.connection is not session


def test_an_event_loop_is_refused(connection: Any) -> None:
    async def ask() -> None:
        execute(connection, SQL, ["a"])

    execute(connection, SQL, ["before"])
    with pytest.raises(SynchronousOnlyOperation):
        asyncio.run(ask())
