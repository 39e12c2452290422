"""django-tasks-db: the verbs are those of ``peer``.

Its worker runs one task at a time, so that as many processes are started as threads are wanted.
"""

from collections.abc import Sequence

from benchmarks.speed.contenders import peer


def enqueue(argument: peer.Argument) -> None:
    from benchmarks.speed.contenders.tasks_db.tasks import noop

    noop.enqueue(argument)


def worker(threads: int, processes: int) -> tuple[Sequence[str], int]:
    return peer.django_command("db_worker", "--verbosity", "0"), threads * processes


PEER = peer.Peer(
    project="tasks_db",
    name="django-tasks-db",
    distributions=["django-tasks-db", "django-tasks", "psycopg"],
    stores="a row with status, times, arguments, result and error",
    stores_with_row="django-tasks-db keeps its row, too",
    enqueue=enqueue,
    worker=worker,
    finished_sql=(
        "SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE status = 'SUCCESSFUL'"
    ),
    needs_redis=False,
    transactional=True,
)

if __name__ == "__main__":
    peer.run(PEER)
