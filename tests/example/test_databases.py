"""Parse the database URL of the example project."""

from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.example.conftest import EXAMPLE


@pytest.fixture(scope="module")
def databases() -> ModuleType:
    """The module ``shop/databases.py``, which is outside the path of these tests."""
    spec = spec_from_file_location("example_databases", EXAMPLE / "shop" / "databases.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("sqlite:///db.sqlite3", {"NAME": "db.sqlite3"}, id="relative file"),
        pytest.param("sqlite:////var/my%20db", {"NAME": "/var/my db"}, id="absolute file"),
        pytest.param("postgres://localhost/shop", {"USER": "", "PORT": ""}, id="no user"),
        pytest.param(
            "postgresql://ann:p%40ss@db:5433/shop?sslmode=require",
            {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": "shop",
                "HOST": "db",
                "PORT": "5433",
                "USER": "ann",
                "PASSWORD": "p@ss",
                "OPTIONS": {"sslmode": "require"},
            },
            id="everything",
        ),
        pytest.param(
            "mysql://root@127.0.0.1/shop",
            {"ENGINE": "django.db.backends.mysql", "OPTIONS": {"charset": "utf8mb4"}},
            id="mysql",
        ),
    ],
)
def test_a_url_is_parsed_into_settings(
    databases: ModuleType, url: str, expected: dict[str, Any]
) -> None:
    settings = databases.database(url)

    assert {name: settings[name] for name in expected} == expected


@pytest.mark.parametrize(
    "url",
    ["", "shop", "oracle://ann:secret@db/shop", "postgres://ann:secret@db", "sqlite://:memory:"],
)
def test_an_invalid_url_is_rejected_without_its_password(databases: ModuleType, url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL") as raised:
        databases.database(url)

    assert "secret" not in str(raised.value)


def test_sqlite_waits_for_its_turn_to_write(databases: ModuleType) -> None:
    options = databases.database("sqlite:///db")["OPTIONS"]

    assert options["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in options["init_command"]
    assert options["timeout"] >= 10
