"""The pages of which there are screenshots, and how each is shown."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

#: When all screenshots are taken: a Saturday.
NOW = datetime(2026, 11, 28, 14, 5, 23, tzinfo=UTC)

_PACKAGE = "/admin/django_simpletask3"
_IMPORTS = "/admin/orders/orderimport/"
_RETRY = "django_simpletask3_retry_for_selected"


def select_failed_and_retry(page: Any) -> None:
    """As a user does in the list of tasks: the next page asks whether to retry them."""
    for file in ("harbour.csv", "legacy.xls", "2026-11-20.csv", "2026-11-19.csv", "2026-11-27.csv"):
        page.locator("#result_list tr", has_text=f"orders-{file}").locator("input").first.check()
    page.select_option("select[name=action]", _RETRY)
    page.click("button[name=index]")
    page.wait_for_load_state()


def ask_to_cancel(page: Any) -> None:
    """The dialog that a button of the page opens."""
    page.click("[data-st3-dialog$='_cancel_for_selected']")
    page.wait_for_selector("dialog[open]")


def do_nothing(page: Any) -> None:
    """The page is shown as it was loaded."""


@dataclass(frozen=True)
class Page:
    """A page: the name of its screenshots, the scene, and its path or the name of its task.

    ``prepare`` is called with the page once it was loaded. Without ``is_whole``, screenshots show
    what fits in the window.
    """

    name: str
    scene: str
    path: str = ""
    task: str = ""
    prepare: Callable[[Any], None] = do_nothing
    is_whole: bool = True


@dataclass(frozen=True)
class View:
    """How a page is shown."""

    name: str
    locale: str
    scheme: str
    width: int


PAGES = [
    Page("task-running", "well", task="running"),
    Page("task-running-dialog", "well", task="running", prepare=ask_to_cancel, is_whole=False),
    Page("task-failed", "well", task="failed"),
    Page("task-succeeded", "well", task="succeeded"),
    Page("list", "well", _IMPORTS),
    Page("confirm", "well", _IMPORTS, prepare=select_failed_and_retry),
    Page("dashboard", "well", f"{_PACKAGE}/dashboard/?period=hour"),
    Page("recoveries", "well", f"{_PACKAGE}/dashboard/recoveries/"),
    Page("ledger", "well", f"{_PACKAGE}/ledger/"),
    Page("schedules", "well", f"{_PACKAGE}/schedule/"),
    Page("dashboard-trouble", "trouble", f"{_PACKAGE}/dashboard/?period=hour"),
    Page("deliveries", "trouble", f"{_PACKAGE}/delivery/"),
    Page("empty-list", "empty", _IMPORTS),
    Page("empty-schedules", "empty", f"{_PACKAGE}/schedule/"),
    Page("empty-deliveries", "empty", f"{_PACKAGE}/delivery/"),
    Page("empty-dashboard", "empty", f"{_PACKAGE}/dashboard/?period=hour"),
]
#: Those of one language follow each other: the page is loaded once for them.
VIEWS = [
    View("light-1280", "en-US", "light", 1280),
    View("dark-1280", "en-US", "dark", 1280),
    View("light-360", "en-US", "light", 360),
    View("zh-hans.light-1280", "zh-CN", "light", 1280),
]
