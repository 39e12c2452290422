"""Parse and redact the URL of Redis."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis.connection import parse_url

from django_simpletask3.exceptions import InvalidSetting

SETTING = "DJANGO_SIMPLETASK3_SIMQ_REDIS_URL"
EXPECTED = (
    "redis://[user:password@]host:port/db, rediss://..., unix:///path/to/socket?db=0, "
    "sentinel://[user:password@]host:port,host:port/service/db or embedded:///path/to/folder"
)

_PLAIN_SCHEMES = ("redis", "rediss", "unix")
_SENTINEL_PORT = 26379
_USERINFO = re.compile(r"(?<=://)[^/?#]*@")
_SECRET_QUERY = re.compile(r"(?i)([?&][^=&#]*password=)[^&#]*")


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed URL: the scheme, the options of a redis-py connection, and scheme-specific parts."""

    scheme: str
    options: dict[str, Any]
    folder: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_options: dict[str, Any] | None = None


def redact(url: str) -> str:
    """``url`` without passwords, for logs and error texts."""
    return _SECRET_QUERY.sub(r"\1***", _USERINFO.sub(_mask_password, url))


def _mask_password(match: re.Match[str]) -> str:
    user, colon, _ = match[0][:-1].partition(":")
    return f"{user}:***@" if colon else "***@"


def parse(url: str) -> Address:
    """Parse ``url``. Raises InvalidSetting, without the password, if the URL is invalid."""
    scheme = url.partition("://")[0]
    try:
        if scheme in _PLAIN_SCHEMES:
            return _plain(scheme, url)
        if scheme == "sentinel":
            return _sentinel(url)
        if scheme == "embedded":
            return _embedded(url)
    except ValueError:
        pass
    raise InvalidSetting(SETTING, redact(url), EXPECTED)


def _plain(scheme: str, url: str) -> Address:
    options = _options(url)
    if scheme == "unix" and not options.get("path"):
        raise ValueError("no path")
    return Address(scheme, options)


def _options(url: str) -> dict[str, object]:
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    options.pop("connection_class", None)
    return options


def _sentinel(url: str) -> Address:
    parts = urlsplit(url)
    hosts = tuple(_host(text) for text in parts.netloc.rpartition("@")[2].split(","))
    service, _, db = parts.path.strip("/").partition("/")
    if not service:
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
    if not folder.strip("/"):
        raise ValueError("no folder")
    db = parse_qs(query).get("db", ["0"])[0]
    return Address("embedded", {"db": int(db)}, folder=unquote(folder))
