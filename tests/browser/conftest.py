"""A real browser, logged in, whose every request and complaint is written down."""

import shutil
import subprocess
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from django.conf import settings as project
from django.contrib.auth.models import Permission, User
from django.test import Client

from tests.conftest import missing
from tests.worker.conftest import start_server

__all__ = ["start_server"]

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, as the npm registry has it."""
    if shutil.which("npm") is None:
        missing("npm")
    folder = tmp_path_factory.mktemp("axe")
    packed = subprocess.run(
        ["npm", "pack", "--silent", "axe-core@4"],
        cwd=folder,
        check=False,
        capture_output=True,
        timeout=120,
    )
    if packed.returncode:
        missing("axe-core")
    (archive,) = folder.glob("*.tgz")
    shutil.unpack_archive(archive, folder, filter="data")
    return (folder / "package" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser of this machine.

    Playwright has an event loop in this thread, which never touches the database; no longer than
    for one module, for other tests have to know if theirs does.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        missing("chromium")
    if find_spec("playwright") is None:
        missing("playwright")
    playwright = import_module("playwright.sync_api")
    with pytest.MonkeyPatch.context() as patch, playwright.sync_playwright() as started:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = started.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def _pages_are_strict(chromium: Any, settings: Any) -> None:
    settings.MIDDLEWARE = ["tests.browser.csp.StrictPolicy", *project.MIDDLEWARE]


class Browser:
    """Makes pages for users; ``complaints`` and ``requests`` are those of all pages."""

    def __init__(self, chromium: Any, url: str) -> None:
        self._chromium = chromium
        self.url = url
        self.contexts: list[Any] = []
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def page(self, user: User, **options: Any) -> Any:
        """A page of a user who is logged in."""
        client = Client()
        client.force_login(user)
        context = self._chromium.new_context(**{"locale": "en-US", **options})
        self.contexts.append(context)
        cookie = {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": self.url}
        context.add_cookies([cookie])
        return self._watched(context.new_page())

    def anonymous(self) -> Any:
        """A page of a user who is not logged in."""
        context = self._chromium.new_context(locale="en-US")
        self.contexts.append(context)
        return self._watched(context.new_page())

    def _watched(self, page: Any) -> Any:
        page.set_default_timeout(30_000)
        page.on("console", self._record_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        return page

    def _record_console(self, message: Any) -> None:
        # Browsers ask for a picture of the site by themselves; this project has none.
        asked = (message.location or {}).get("url", "")
        if message.type in ("error", "warning") and not asked.endswith("/favicon.ico"):
            self.complaints.append(message.text)


@pytest.fixture
def browser(chromium: Any, live_server: Any) -> Iterator[Browser]:
    """A browser at the pages of this project."""
    opened = Browser(chromium, live_server.url)
    yield opened
    for context in opened.contexts:
        context.close()


@pytest.fixture
def root(transactional_db: None) -> User:
    """A user who may do everything."""
    return User.objects.create_superuser("root", password="secret")


@pytest.fixture
def viewer(transactional_db: None) -> User:
    """A user who may view invoices and at the dashboard."""
    user = User.objects.create_user("mia", is_staff=True)
    names = ["view_invoice", "view_dashboard"]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return user
