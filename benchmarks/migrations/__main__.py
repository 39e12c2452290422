"""``python -m benchmarks.migrations --database postgres://... --rows 10000000``

Measure how long the migrations of this package take on a big table, and how long they block writers.
Creates a database of its own on the server and drops it. While a migration runs, another process
updates tasks by key or inserts events all the time; its longest single wait is reported. The
database generates the rows of 0.1.x as 0.1.3 writes them.
"""

import argparse
import json
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
OLD_COLUMNS = """
    add_time = models.DateTimeField(null=True)
    mod_time = models.DateTimeField(null=True)
    status = models.IntegerField(null=True)
    start_time = models.DateTimeField(null=True)
    done_time = models.DateTimeField(null=True)
    success = models.BooleanField(null=True)
    result_data = models.TextField(null=True)
    error_data = models.TextField(null=True)
    result_time = models.DateTimeField(null=True)
"""
OLD = f"from django.db import models\n\n\nclass Invoice(models.Model):\n{OLD_COLUMNS}"
OWN = "    amount = models.IntegerField(null=True)\n"
NEW = (
    "from django.db import models\nfrom django_simpletask3.models import SimpleTask\n\n\n"
    f"class Invoice(SimpleTask):\n{OWN}\n    def do_task(self):\n        return 1\n"
)
SETTINGS = """
SECRET_KEY = "audit-secret-key-0123456789abcdefghijklmnop"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_simpletask3", "app"]
DATABASES = {{"default": {database!r}}}
DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = "redis://127.0.0.1:6379/0"
"""
#: {"paid": 1, "to": "张"}, as 0.1.3 encrypts it under that key.
RESULT = "4a573a389775bb4125976ea3a8f5e2cfead5d9a22eabcbe0240d0e5d334cd055"
_ROW = "'2026-01-01', '2026-01-01', 20, '2026-01-01', '2026-01-01', {true}, '{result}', '2026-01-01'"
_INTO = (
    "INSERT INTO app_invoice "
    "(add_time, mod_time, status, start_time, done_time, success, result_data, result_time) "
)
FILL = {
    "postgresql": _INTO + f"SELECT {_ROW} FROM generate_series(1, {{rows}})",
    "mysql": _INTO + f"SELECT {_ROW} FROM seq_1_to_{{rows}}",
}
#: Marks rows as upgraded, so that BackfillEvents handles only a part of them.
_EVENTS = (
    "INSERT INTO app_invoiceevent (sequence, kind, from_status, to_status, attempt, event_time, "
    "worker, actor, reason, data, digest, task_id) SELECT 1, 'enqueue', NULL, 0, 0, '2026-01-01', "
    "'', '', '', NULL, repeat('0', 64), id FROM app_invoice WHERE id > {part}"
)
SKIP = ["UPDATE app_invoice SET sequence = 1, check_at = NULL WHERE id > {part}", _EVENTS]
UPDATE = "UPDATE app_invoice SET status = status WHERE id = %s"
INSERT = (
    "INSERT INTO app_invoiceevent (sequence, kind, attempt, event_time, worker, actor, reason, "
    "digest, task_id) VALUES (1, 'note', 0, now(), '', '', '', '', %s)"
)
STEPS = [
    ("makemigrations: columns, indexes, event table", "0002", UPDATE),
    ("upgrade_from_0_1", "0003", UPDATE),
    ("protect_events", "0004", INSERT),
    ("partition_events", "0005", INSERT),
    ("partition_events, back", "0004", INSERT),
    ("protect_events, back", "0003", INSERT),
]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.migrations", description=__doc__)
    parser.add_argument("--database", required=True, help="postgres://user@host:port/ or mysql://")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--part", type=int, default=200_000, help="rows that are upgraded from 0.1.x")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _database(options.database) as database:
        report = list(_measure(Path(folder), database, options.rows, options.part))
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {options.rows} rows"
    print(f"{machine}, {options.part} of them from 0.1.x")
    print("| migration | seconds | longest wait of a writer, seconds |\n|---|---|---|")
    for line in report:
        print(f"| {line['step']} | {line['seconds']:.1f} | {line['wait']:.3f} |")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "steps": report}, indent=2))
    return 0


def _measure(folder: Path, database: Any, rows: int, part: int) -> Iterator[dict[str, Any]]:
    vendor = database["ENGINE"].rpartition(".")[2]
    (folder / "app" / "migrations").mkdir(parents=True)
    for name in ("app/__init__.py", "app/migrations/__init__.py"):
        (folder / name).touch()
    (folder / "settings.py").write_text(SETTINGS.format(database=database))
    (folder / "app" / "models.py").write_text(OLD + OWN)
    _manage(folder, "makemigrations", "app")
    _manage(folder, "migrate")
    true = "true" if vendor == "postgresql" else "1"
    _sql(folder, FILL[vendor].format(rows=rows, true=true, result=RESULT))
    (folder / "app" / "models.py").write_text(NEW)
    _manage(folder, "makemigrations", "app")
    _manage(folder, "django-simpletask3-migrations", "app")
    _manage(folder, "django-simpletask3-migrations", "app", "--template", "partition_events")
    for step, number, statement in STEPS:
        if "partition" in step and vendor != "postgresql":
            continue
        with _writer(folder, statement, part if number == "0003" else rows) as waited:
            began = time.monotonic()
            _manage(folder, "migrate", "app", number)
            seconds = time.monotonic() - began
        yield {"step": step, "seconds": seconds, "wait": max(waited)}
        if number == "0002":
            for sql in SKIP:
                _sql(folder, sql.format(part=part))


@contextmanager
def _writer(folder: Path, statement: str, rows: int) -> Iterator[list[float]]:
    """Run a process that writes all the time; yield a list for its longest wait, in seconds."""
    code = (
        "import signal, sys, time, random, django\ndjango.setup()\n"
        "from django.db import connection\n"
        f"longest, going, n, statement = 0.0, True, time.time_ns(), {statement!r}\n"
        "def stop(*_):\n    global going\n    going = False\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "with connection.cursor() as cursor:\n"
        "    cursor.execute('SELECT 1')\n    print('ready', flush=True)\n"
        "    while going:\n"
        "        n += 1\n"
        f"        key = n if 'INSERT' in statement else random.randint(1, {rows})\n"
        "        began = time.monotonic()\n"
        "        cursor.execute(statement, [key])\n"
        "        longest = max(longest, time.monotonic() - began)\n"
        "        time.sleep(0.005)\n"
        "print(longest)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    waited: list[float] = []
    try:
        yield waited
    finally:
        process.terminate()
        waited.append(float(process.communicate(timeout=600)[0]))


def _manage(folder: Path, *arguments: str) -> None:
    code = "import sys\nfrom django.core.management import execute_from_command_line as run\nrun(sys.argv)"
    command = [sys.executable, "-c", code, *arguments]
    subprocess.run(command, cwd=folder, env=_environment(), check=True, stdout=subprocess.DEVNULL)


def _sql(folder: Path, statement: str) -> None:
    code = (
        "import django\ndjango.setup()\nfrom django.db import connection\n"
        f"connection.cursor().execute({statement!r})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=_environment(), check=True)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "settings"}


@contextmanager
def _database(url: str) -> Iterator[dict[str, Any]]:
    """Create a database on the server of ``url``; yield its Django settings."""
    import django
    from django.conf import settings

    parts = urlsplit(url)
    kind = "postgresql" if parts.scheme.startswith("postgres") else "mysql"
    server = {
        "ENGINE": f"django.db.backends.{kind}",
        "HOST": parts.hostname,
        "PORT": parts.port or "",
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
        "NAME": None if kind == "mysql" else "postgres",
    }
    settings.configure(DATABASES={"default": server})
    django.setup()
    from django.db import connection

    name = f"simpletask3_migrations_{secrets.token_hex(4)}"
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    try:
        yield {**server, "NAME": name}
    finally:
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")


if __name__ == "__main__":
    sys.exit(main())
