"""Parse a database URL into an entry of ``DATABASES``."""

from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

# Several threads and processes write to one file. WAL lets others read meanwhile. IMMEDIATE takes
# the write lock when a transaction begins (taking it later can fail at once, despite the timeout).
# The timeout is how long to wait for the lock, in seconds.
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
SERVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "postgres": ("django.db.backends.postgresql", {}),
    "postgresql": ("django.db.backends.postgresql", {}),
    "mysql": ("django.db.backends.mysql", {"charset": "utf8mb4"}),
    "mariadb": ("django.db.backends.mysql", {"charset": "utf8mb4"}),
}
EXPECTED = (
    "sqlite:///file, sqlite:////path/to/file, postgres://user:password@host:port/name "
    "or mysql://user:password@host:port/name"
)


def database(url: str) -> dict[str, Any]:
    """Return the settings of the database at ``url``.

    Raises ImproperlyConfigured, without the password, if the URL is invalid.
    """
    parts = urlsplit(url)
    name = unquote(parts.path.removeprefix("/"))
    if parts.scheme == "sqlite" and name and name != ":memory:":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": SQLITE_OPTIONS}
    if parts.scheme in SERVERS and name:
        return _server(parts, name)
    raise ImproperlyConfigured(
        f"DATABASE_URL ({parts.scheme or 'no scheme'}://...) is invalid; expected {EXPECTED}. "
        "A database in memory would be a different one in each process."
    )


def _server(parts: SplitResult, name: str) -> dict[str, Any]:
    engine, options = SERVERS[parts.scheme]
    return {
        "ENGINE": engine,
        "NAME": name,
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "OPTIONS": options | dict(parse_qsl(parts.query)),
    }
