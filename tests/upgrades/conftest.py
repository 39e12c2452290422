"""Projects of somebody's own, and an interpreter that has the release they come from."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from tests.conftest import missing
from tests.projects import Project, own_database

DRIVERS = {"postgresql": ["psycopg[binary]"], "mysql": ["mysqlclient"]}


@pytest.fixture
def project(tmp_path: Path, redis_url: str, transactional_db: None) -> Iterator[Project]:
    """An empty project on a database of its own, of the kind of this run's."""
    prefix = f"{settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX}-upgrades"
    with own_database(tmp_path) as database:
        yield Project(tmp_path, database, redis_url, prefix)


@pytest.fixture(scope="session")
def python_with_01(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with the real 0.1.3 from the package index."""
    folder = tmp_path_factory.mktemp("release-0.1.3")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    wanted = ["django-simpletask3==0.1.3", "Django==5.2.*", *DRIVERS.get(connection.vendor, [])]
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        missing(f"django-simpletask3 0.1.3 from a package index: {done.stdout[-500:]}")
    return python
