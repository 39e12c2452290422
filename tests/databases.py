"""The ``DATABASES`` entry that a URL of the environment means."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
#: As docs/how-to/deploy.md has it, but sooner: few tests say a thing five times.
PREPARED = {"server_side_binding": True, "prepare_threshold": 1}
SERVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "postgres": ("django.db.backends.postgresql", {}),
    "mysql": ("django.db.backends.mysql", {"charset": "utf8mb4"}),
}


def database(url: str, alias: str, run: str, folder: Path) -> dict[str, Any]:
    """The test database of ``alias`` in this run: always its own, never the one the URL names.

    With ``?prepared`` at its end, PostgreSQL gets prepared statements.
    """
    if url == "sqlite":
        return _sqlite(str(folder / f"{alias}.sqlite3"))
    parts = urlsplit(url)
    if parts.scheme not in SERVERS:
        raise ValueError(f"{url!r} is neither sqlite, postgres:// nor mysql://")
    engine, options = SERVERS[parts.scheme]
    if parts.query == "prepared" and parts.scheme == "postgres":
        options = PREPARED
    name = f"test_{parts.path.strip('/') or 'simpletask3'}_{run}_{alias}"
    return {
        "ENGINE": engine,
        "NAME": name,
        "HOST": parts.hostname or "",
        "PORT": parts.port or "",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "OPTIONS": options,
        "TEST": {"NAME": name},
    }


def _sqlite(name: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": name,
        "OPTIONS": SQLITE_OPTIONS,
        "TEST": {"NAME": name},
    }
