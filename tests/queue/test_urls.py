"""Parsing and redacting of Redis URLs."""

from __future__ import annotations

import pytest

from django_simpletask3.exceptions import InvalidSetting
from django_simpletask3.queue import redact
from django_simpletask3.queue.urls import parse


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://h:1/2", {"host": "h", "port": 1, "db": 2}),
        ("redis://h", {"host": "h"}),
        ("redis://u:p%40@h/0", {"host": "h", "db": 0, "username": "u", "password": "p@"}),
        ("redis://:p@h", {"host": "h", "password": "p"}),
        ("rediss://h?ssl_cert_reqs=none", {"host": "h", "ssl_cert_reqs": "none"}),
        ("unix:///run/r.sock?db=3", {"path": "/run/r.sock", "db": 3}),
        ("redis://h?socket_connect_timeout=3", {"host": "h", "socket_connect_timeout": 3.0}),
    ],
)
def test_a_plain_url_is_parsed_as_by_redis_py(url, options):
    assert parse(url).options == options


def test_a_sentinel_url_names_sentinels_service_and_both_passwords():
    address = parse("sentinel://u:p@h1:1,h2,[::1]:3/mymaster/4?sentinel_password=s&client_name=x")

    assert address.sentinels == (("h1", 1), ("h2", 26379), ("::1", 3))
    assert address.service == "mymaster"
    assert address.options == {"db": 4, "username": "u", "password": "p", "client_name": "x"}
    assert address.sentinel_options == {"password": "s"}


@pytest.mark.parametrize(
    ("url", "folder", "number"),
    [
        ("embedded:///var/lib/q", "/var/lib/q", 0),
        ("embedded://var/q%20x", "var/q x", 0),
        ("embedded:///q?db=2", "/q", 2),
    ],
)
def test_an_embedded_url_names_a_folder(url, folder, number):
    address = parse(url)

    assert (address.folder, address.options) == (folder, {"db": number})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://h",
        "redis://h:x/0",
        "unix://",
        "sentinel://h1,h2",
        "embedded://",
        "sentinel:///m",
        "sentinel://h/m/x",
        "embedded:///q?db=x",
        "redis://h?socket_timeout=x",
        "redis://h?colour=red",
        "redis://h/one",
        "redis://h#0",
        "unix://run/r.sock",
        "none:",
        "none://localhost",
        "none:///0",
    ],
)
def test_an_unusable_url_is_an_invalid_setting(url):
    with pytest.raises(InvalidSetting, match=r"SIMQ_REDIS_URL.*expected"):
        parse(url)


SECRET_URLS = [
    "http://user:geheim@h/?password=geheim",
    "user:geheim@h:1/0",
    "geheim",
    "redis://:ab/geheim@h:1/0",
    "redis://:ab?geheim@h:1/0",
    "redis://:ab#geheim@h:1/0",
    # What stands before the character can be taken for a port, or a host.
    "redis://:12/geheim@h:1/0",
    "redis://:12?geheim@h:1/0",
    "redis://:12?x=geheim@h:1/0",
    "redis://:12#geheim@h:1/0",
    "redis://user#geheim@h:1/0",
    "redis://user:12/geheim@h/0",
    "rediss://user:12/3/geheim@h/0",
    "unix://:12/geheim@/run/r.sock",
    "unix://user/geheim@/run/r.sock",
    "unix://u:12?geheim@/run/r.sock",
    "unix:///run/r.sock#geheim",
    "sentinel://u:12/geheim@h/0",
    "sentinel://u:12?geheim@h/m/0",
    "sentinel://u:12/m/0#geheim@h/m/0",
    "sentinel://u:geheim@h/",
    "embedded:///q?db=geheim",
    "embedded:///q?geheim",
    "embedded://u:geheim@h/q",
    "redis://h:1/0?passwort=geheim",
    "REDIS://u:geheim@h:1/0",
    "redis://u:geheim@h:99999/0",
    "redis://u:geheim@[h/0",
]


@pytest.mark.parametrize("url", SECRET_URLS)
def test_nothing_is_shown_of_a_url_that_cannot_be_parsed(url):
    with pytest.raises(InvalidSetting) as refusal:
        parse(url)

    assert "geheim" not in str(refusal.value) + repr(refusal.value) + redact(url)
    assert refusal.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/2", "redis://h:1/2"),
        ("redis://u:p@h/0", "redis://u:***@h/0"),
        ("redis://:p@h", "redis://:***@h"),
        ("redis://p@h", "redis://***@h"),
        ("redis://p:@h", "redis://***@h"),
        ("redis://u:p@ss@h", "redis://u:***@h"),
        ("redis://u:p:q@h", "redis://u:***@h"),
        ("redis://h?password=p&db=1", "redis://h?db=1"),
        ("redis://h?password=p@h2", "redis://h"),
        ("sentinel://u:p@h,h2:3/m?db=1&sentinel_password=p", "sentinel://u:***@h,h2:3/m?db=1"),
        ("unix://u:p@/r.sock?password=p", "unix://u:***@/r.sock"),
        ("embedded:///q?db=1", "embedded:///q?db=1"),
        ("no url", "(not shown)"),
    ],
)
def test_a_redacted_url_has_neither_password_nor_options(url, shown):
    assert redact(url) == shown


def test_a_server_that_quotes_a_command_shows_no_password():
    quoted = "unknown command `HELLO`, with args beginning with: `3` `AUTH` `u` `geheim` `streng`"

    shown = parse("sentinel://u:geheim@h/m?sentinel_password=streng").mask_secrets(quoted)

    assert shown == "unknown command `HELLO`, with args beginning with: `3` `AUTH` `u` `***` `***`"


def test_none_names_no_server():
    assert parse("none://").scheme == "none"
    assert redact("none://") == "none://"
