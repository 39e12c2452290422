"""Equal values are sent once, and every row gets the values that it would have got alone."""

import json
import math
from typing import Any

import pytest
from django.db import connection, models

from django_simpletask3.db.postgresql.json_parameters import (
    Column,
    NotSerializable,
    recordset,
    serializer_for,
)

KINDS = {"a": "bigint", "b": "text", "c": "double precision", "d": "boolean"}
COLUMNS = [Column(word, word, kind, lambda value: value) for word, kind in KINDS.items()]
TEXT = "the same"
SAME = {"b": TEXT, "c": 2.5, "d": None}
BATCHES: dict[str, list[tuple[Any, ...]]] = {
    "all alike but the key": [(1, TEXT, 2.5, None), (2, TEXT, 2.5, None)],
    "all differ": [(1, "x", 1.5, True), (2, "y", 3.5, False)],
    "one": [(7, TEXT, 2.5, None)],
    "alike and not the same": [(1, "1", 0.0, True), (2, "1", -0.0, True)],
    "some say nothing": [(1, None, None, True), (2, "\u2028'%s{0}", 1.0, None)],
    "a key that is everywhere": [(5, TEXT, 2.5, None), (5, TEXT, 2.5, None)],
}


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "postgresql", reason="a dialect of PostgreSQL")
@pytest.mark.parametrize("rows", BATCHES.values(), ids=BATCHES.keys())
def test_rows_are_read_as_they_were_reported(rows: list[tuple[Any, ...]]) -> None:
    reported = recordset((COLUMNS, [dict(zip(KINDS, row, strict=True)) for row in rows]))

    with connection.cursor() as cursor:
        cursor.execute(
            reported.into("SELECT a, b, c, d FROM ({params}) AS params"), reported.parameters
        )
        read = cursor.fetchall()

    assert read == rows
    signs, found = [[math.copysign(1, row[2] or 0) for row in some] for some in (rows, read)]
    assert found == signs


def test_a_value_that_is_the_same_in_all_rows_is_sent_once() -> None:
    rows = [{"a": number, **SAME} for number in range(100)]

    reported = recordset((COLUMNS, rows))

    assert [json.loads(text) for text in reported.parameters] == [
        [{"a": n} for n in range(100)],
        SAME,
    ]


def test_columns_with_the_same_values_are_sent_once() -> None:
    digests = [f"digest {number}" for number in range(3)]
    first = [Column(word, "digest", "text", str) for word in "ab"]
    other = [Column("c", "digest", "bytea", str)]
    rows = [{"digest": digest} for digest in digests]

    reported = recordset((first, rows), (other, rows))

    assert [json.loads(text) for text in reported.parameters] == [
        [{"a": d, "c": d} for d in digests]
    ]
    assert "varying.a AS b" in reported.source
    assert "varying.c AS c" in reported.source


def test_the_statement_does_not_depend_on_how_many_rows_there_are() -> None:
    sources = {
        recordset((COLUMNS, [{"a": n, **SAME} for n in range(count)])).source
        for count in (2, 3, 500)
    }

    assert len(sources) == 1


def test_a_value_that_differs_at_each_conversion_is_converted_for_each_row() -> None:
    tokens = iter(range(3))
    key = Column("a", "a", "bigint", int)
    token = Column("b", "b", "text", lambda _: f"token {next(tokens)}", is_deterministic=False)

    reported = recordset(([key, token], [{"a": n, "b": None} for n in range(3)]))

    assert [row["b"] for row in json.loads(reported.parameters[0])] == [
        "token 0",
        "token 1",
        "token 2",
    ]


class JSONAsText(models.Field):  # type: ignore[type-arg]
    """A custom field, whose column is JSON and whose values are JSON already."""

    def db_type(self, connection: Any) -> str:
        return "jsonb"

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else json.dumps(value)


@pytest.mark.parametrize("value", [{"a": 1}, "x", 1, True])
def test_a_field_class_that_writes_json_itself_is_left_to_django(value: Any) -> None:
    serialize = serializer_for(JSONAsText(), "default")

    with pytest.raises(NotSerializable):
        serialize(value)
    assert serialize(None) is None
