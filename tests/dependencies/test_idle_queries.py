"""A maintenance job that finds nothing to do locks nothing, and reads no rows that were served."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_simpletask3.db import clock
from django_simpletask3.dependencies.serving import serve
from django_simpletask3.dependencies.tables import (
    GroupState,
    LinkState,
    PrerequisiteGroup,
    TaskPrerequisite,
)
from django_simpletask3.recovery.dependents import DependentsJob

pytestmark = pytest.mark.django_db(transaction=True)

_ROWS = 2000


def plan_of(sql: str) -> str:
    with connection.cursor() as cursor:
        explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
        cursor.execute(explain + sql)
        return "\n".join(str(row) for row in cursor.fetchall())


def analyze(*models: Any) -> None:
    tables = [model._meta.db_table for model in models]
    with connection.cursor() as cursor:
        for table in tables:
            word = "ANALYZE TABLE" if connection.vendor == "mysql" else "ANALYZE"
            cursor.execute(f"{word} {table}")
            if connection.vendor == "mysql":
                cursor.fetchall()


def insert_served_rows() -> None:
    now = clock.now("default")
    groups = [
        PrerequisiteGroup(missing=0, on_failure="run", state=GroupState.SERVED, add_time=now)
        for _ in range(_ROWS)
    ]
    PrerequisiteGroup.objects.bulk_create(groups)
    group = PrerequisiteGroup.objects.first()
    links = [
        TaskPrerequisite(group=group, model="app.Task", task_key=n, state=LinkState.SUCCEEDED)
        for n in range(_ROWS)
    ]
    TaskPrerequisite.objects.bulk_create(links)


@pytest.mark.parametrize("has_statistics", [True, False])
def test_what_is_to_be_done_is_found_by_an_index(has_statistics: bool) -> None:
    insert_served_rows()
    if has_statistics:
        analyze(PrerequisiteGroup, TaskPrerequisite)

    with CaptureQueriesContext(connection) as queries:
        serve("default", seconds=1)

    selects = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
    plans = [plan_of(sql.split(" FOR UPDATE")[0]) for sql in selects]
    assert len(plans) == 2
    assert "to_be_counted" in plans[0]
    assert "simpletask3_group_state" in plans[1]


def test_a_job_that_finds_nothing_to_do_makes_one_query_and_locks_nothing() -> None:
    insert_served_rows()
    analyze(PrerequisiteGroup, TaskPrerequisite)

    with CaptureQueriesContext(connection) as queries:
        count = DependentsJob(1).run()

    (statement,) = (query["sql"] for query in queries)
    plan = plan_of(statement)
    assert (count, "FOR UPDATE" in statement) == (0, False)
    assert "to_be_counted" in plan
    assert "simpletask3_group_state" in plan
