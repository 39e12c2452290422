"""Parse and redact the URL of Redis."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import redis
from redis.connection import parse_url

from django_simpletask3.exceptions import HIDDEN, InvalidSetting

SETTING = "DJANGO_SIMPLETASK3_SIMQ_REDIS_URL"
#: Of a project without Redis.
NO_REDIS = "none://"
EXPECTED = (
    "redis://[user:password@]host:port/db, rediss://..., unix:///path/to/socket?db=0, "
    "sentinel://[user:password@]host:port,host:port/service/db, embedded:///path/to/folder or none://"
)

_PLAIN_SCHEMES = ("redis", "rediss", "unix")
_SENTINEL_PORT = 26379
_DATABASE = re.compile(r"(/\d*)?/?")


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed URL: the scheme, the options of a redis-py connection, and scheme-specific parts."""

    scheme: str
    options: dict[str, Any]
    folder: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_options: dict[str, Any] | None = None

    def mask_secrets(self, text: str) -> str:
        """``text`` without the passwords: servers quote commands that they do not know, as AUTH."""
        for options in (self.options, self.sentinel_options or {}):
            if password := options.get("password"):
                text = text.replace(str(password), "***")
        return text


def redact(url: str) -> str:
    """The server that ``url`` names, for logs and error texts: without password and options.

    Of a URL that cannot be parsed nothing is shown: its password could be anywhere.
    """
    try:
        address = parse(url)
    except InvalidSetting:
        return "(not shown)"
    if url == NO_REDIS:
        return url
    if address.scheme == "embedded":
        place = url.partition("?")[0]
    else:
        parts = urlsplit(url)
        userinfo, at, place = parts.netloc.rpartition("@")
        place = f"{parts.scheme}://{_mask_password(userinfo)}{at}{place}{parts.path}"
    db = next((value for name, value in _query(url.partition("?")[2]) if name == "db"), None)
    return place if db is None else f"{place}?db={db}"


def _mask_password(userinfo: str) -> str:
    user, _, password = userinfo.partition(":")
    # A user without a password is one in the wrong place.
    return f"{user}:***" if password else "***" if user else ""


def parse(url: str) -> Address:
    """Parse ``url``. Raises InvalidSetting, which does not show it, if the URL is invalid.

    A URL with characters in its password that should be escaped is invalid: redis-py would take
    the rest of the password for a path, a query or a fragment, and the head for a server.
    """
    scheme = url.partition("://")[0]
    try:
        if url == NO_REDIS:
            return Address(scheme, {})
        if scheme in _PLAIN_SCHEMES:
            return _plain(scheme, url)
        if scheme == "sentinel":
            return _sentinel(url)
        if scheme == "embedded":
            return _embedded(url)
    except ValueError:
        pass
    raise InvalidSetting(SETTING, HIDDEN, EXPECTED)


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.fragment or "#" in url:
        raise ValueError("a fragment")
    _query(parts.query)
    return parts


def _query(text: str) -> list[tuple[str, str]]:
    """The names and values of a query. Raises ValueError if redis-py does not know a name."""
    pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True) if text else []
    if not {name for name, _ in pairs} <= _known_options():
        raise ValueError("an unknown option")
    return pairs


@cache
def _known_options() -> frozenset[str]:
    classes = (redis.SSLConnection, redis.UnixDomainSocketConnection, redis.ConnectionPool)
    # Without that of object: for a signature that is not Python's own, inspect copies sys.modules,
    # and so touches a page of memory for each module, which a worker then shares no longer.
    bases = {base for known in classes for base in known.__mro__} - {object}
    constructors: set[Any] = {vars(base).get("__init__") for base in bases} - {None}
    names = {name for init in constructors for name in inspect.signature(init).parameters}
    return frozenset(names | {"sentinel_username", "sentinel_password"})


def _plain(scheme: str, url: str) -> Address:
    parts, options = _split(url), _options(url)
    if scheme == "unix":
        if parts.netloc.rpartition("@")[2] or not options.get("path"):
            raise ValueError("a host, or no path")
    elif not _DATABASE.fullmatch(parts.path):
        raise ValueError("no number of a database")
    return Address(scheme, options)


def _options(url: str) -> dict[str, object]:
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    options.pop("connection_class", None)
    return options


def _sentinel(url: str) -> Address:
    parts = _split(url)
    hosts = tuple(_host(text) for text in parts.netloc.rpartition("@")[2].split(","))
    service, _, db = parts.path.strip("/").partition("/")
    if not service or "@" in service:
        raise ValueError("no service")
    userinfo = parts.netloc.rpartition("@")[0]
    # redis-py parses user, password and query, exactly as in redis://
    at = "@" if userinfo else ""
    options = _options(f"redis://{userinfo}{at}h/{int(db or 0)}?{parts.query}")
    options.pop("host", None)
    sentinel_options = {n: options.pop(f"sentinel_{n}", None) for n in ("username", "password")}
    return Address(
        "sentinel",
        options,
        sentinels=hosts,
        service=unquote(service),
        sentinel_options={name: value for name, value in sentinel_options.items() if value},
    )


def _host(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("no host")
    return parts.hostname, parts.port or _SENTINEL_PORT


def _embedded(url: str) -> Address:
    rest = url.partition("://")[2]
    folder, _, query = rest.partition("?")
    if not folder.strip("/") or "@" in folder.partition("/")[0]:
        raise ValueError("no folder, or a user")
    db = int(dict(_query(query)).get("db", "0"))
    return Address("embedded", {"db": db}, folder=unquote(folder))
