"""The middleware that the how-to pages show does what they say."""

import gzip
import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.db import connection
from django.utils import translation

from django_simpletask3.states import Status
from django_simpletask3.testing import run_tasks
from tests.conftest import missing
from tests.docs.test_how_to import how_to
from tests.projects import Project, sqlite
from tests.steps import create_task
from tests.testapp.models import Invoice

Run = Callable[[Any, str], Any]
#: The attributes that the pages give to their tasks, by the column that stands for them here.
COLUMN = property(lambda self: self.task_biz_field)


@pytest.fixture
def run_within(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a task within the middleware of this name, which a block of a page defines."""
    module = ModuleType("shop.middleware")
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.middleware", module)

    def run(task: Any, name: str, code: str = "") -> Any:
        exec(compile(code, "page", "exec"), vars(module))
        settings.DJANGO_SIMPLETASK3_MIDDLEWARE = [f"shop.middleware.{name}"]
        run_tasks(task)
        return task

    return run


@pytest.mark.django_db
def test_task_functions_run_in_the_language_of_the_customer(
    run_within: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = how_to("wrap-every-task").block("python", "def customer_language")
    monkeypatch.setattr(Invoice, "language", COLUMN, raising=False)
    monkeypatch.setattr(Invoice, "do_task", lambda self: translation.get_language())

    results = [
        run_within(create_task(Invoice, task_biz_field=language), "customer_language", code)
        for language in ("de", "zh-hans", None)
    ]

    assert [task.result_data for task in results] == ["de", "zh-hans", "en"]
    assert translation.get_language() == "en"


@pytest.mark.django_db
@pytest.mark.parametrize("is_async", [True, False])
def test_a_limit_of_a_minute_is_around_both_kinds_of_functions(
    run_within: Run, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    code = how_to("wrap-every-task").block("python", "asyncio.timeout(60)")

    async def coroutine(self: Any) -> str:
        await sys.modules["asyncio"].sleep(3600)
        return "too late"

    function = coroutine if is_async else (lambda self: "OK")
    monkeypatch.setattr(Invoice, "do_task", function)
    code = code.replace("timeout(60)", "timeout(0.05)" if is_async else "timeout(60)")

    task = run_within(create_task(Invoice), "at_most_a_minute", code)

    assert task.status == (Status.FAILED if is_async else Status.SUCCESS)
    assert not is_async or task.error_data["type"] == "TimeoutError"


@pytest.fixture
def tenants(db: None) -> list[str]:
    """Two schemas with a table of the same name."""
    if connection.vendor != "postgresql":
        pytest.skip("schemas are PostgreSQL's")
    with connection.cursor() as cursor:
        for tenant in ("acme", "Globex & sons"):
            name = connection.ops.quote_name(tenant)
            cursor.execute(f"CREATE SCHEMA {name}; CREATE TABLE {name}.shop_order (item text)")
    return ["acme", "Globex & sons"]


def search_path() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW search_path")
        return str(cursor.fetchone()[0])


@pytest.mark.parametrize("fails", [False, True])
def test_each_task_finds_the_tables_of_its_tenant(
    run_within: Run, tenants: list[str], fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = how_to("tenant-schemas").block("python", "def tenant_schema")
    before = search_path()

    def order(self: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO shop_order VALUES (%s)", [self.tenant])
        if fails:
            raise ValueError

    monkeypatch.setattr(Invoice, "tenant", COLUMN, raising=False)
    monkeypatch.setattr(Invoice, "do_task", order)

    for tenant in tenants:
        task = run_within(create_task(Invoice, task_biz_field=tenant), "tenant_schema", code)
        assert task.status == (Status.FAILED if fails else Status.SUCCESS)
        assert search_path() == before

    with connection.cursor() as cursor:
        for tenant in tenants:
            cursor.execute(f'SELECT item FROM "{tenant}".shop_order')
            assert cursor.fetchall() == [(tenant,)]


def test_a_task_without_tenant_finds_the_shared_tables(
    run_within: Run, tenants: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = how_to("tenant-schemas").block("python", "def tenant_schema")
    monkeypatch.setattr(Invoice, "do_task", lambda self: search_path())

    task = run_within(create_task(Invoice), "tenant_schema", code)

    assert task.result_data == search_path()


class Sentry(BaseHTTPRequestHandler):
    """Keeps what Sentry's SDK sends: the payloads of the items of each envelope."""

    items: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        lines = gzip.decompress(body).splitlines()
        self.items += [json.loads(line) for line in lines if line.startswith(b"{")]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def sentry_items() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The DSN of a server, and what it receives."""
    items: list[dict[str, Any]] = []
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (Sentry,), {"items": items}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://key@127.0.0.1:{server.server_port}/1", items
    server.shutdown()
    thread.join()
    server.server_close()


TASKS = """
from django.contrib.auth.models import User


class Import(SimpleTask):
    path = models.CharField(max_length=64)

    def do_task(self):
        User.objects.count()
        with open(self.path) as file:
            return file.read()
"""


@pytest.mark.once
def test_sentry_gets_a_transaction_of_each_attempt_and_each_error_once(
    tmp_path: Path, redis_url: str, sentry_items: tuple[str, list[dict[str, Any]]]
) -> None:
    if find_spec("sentry_sdk") is None:
        missing("sentry-sdk")
    dsn, items = sentry_items
    project = Project(tmp_path, sqlite(tmp_path), redis_url, "sentry")
    page = how_to("report-to-sentry")
    project.models(TASKS)
    project.write("app/middleware.py", page.block("python", "def sentry_transaction"))
    own = page.block("python", "sentry_sdk.init").replace("shop.", "app.").replace("0.1", "1.0")
    with (tmp_path / "settings.py").open("a") as file:
        file.write(f"SENTRY_DSN = {dsn!r}\n{own}")
    project.manage("makemigrations", "app")
    project.manage("migrate")
    project.shell(
        "result = [str(Import.objects.enqueue(path=path)) for path in ('manage.py', 'absent')]"
    )

    project.manage("django-simpletask3-server", "--burst")

    transactions = [i for i in items if i.get("type") == "transaction" and "spans" in i]
    errors = [item for item in items if "exception" in item]
    tasks = [t for t in transactions if t["transaction"] == "app.Import"]
    statuses = sorted(task["contexts"]["trace"]["status"] for task in tasks)
    assert statuses == ["internal_error", "ok"]
    assert {span["op"] for task in tasks for span in task["spans"]} >= {"db"}
    assert [error["exception"]["values"][-1]["type"] for error in errors] == ["FileNotFoundError"]
    [error] = errors
    assert (error["transaction"], error["tags"]["task_model"]) == ("app.Import", "app.Import")
    assert error["contexts"]["task"]["attempt"] == 1
    assert error["contexts"]["trace"]["trace_id"] in {
        task["contexts"]["trace"]["trace_id"] for task in tasks
    }
