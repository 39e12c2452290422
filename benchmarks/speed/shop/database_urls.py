"""Convert a URL to an entry of ``DATABASES``."""

import os
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.databases import SERVERS, SQLITE_OPTIONS

#: With BENCH_PREPARED, on PostgreSQL.
PREPARED = {"server_side_binding": True, "prepare_threshold": 5}


def database(url: str) -> dict[str, Any]:
    """Parse postgres://user@host:port/name, mysql://... or sqlite:///path/of/the/file."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": unquote(parts.path),
            "OPTIONS": SQLITE_OPTIONS,
        }
    engine, options = SERVERS[parts.scheme]
    if os.environ.get("BENCH_PREPARED"):
        options = options | PREPARED
    return {
        "ENGINE": engine,
        "NAME": parts.path.strip("/"),
        "HOST": parts.hostname or "",
        "PORT": parts.port or "",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "OPTIONS": options,
    }
