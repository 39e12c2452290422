#!/usr/bin/env python
"""Take screenshots of the admin for the documentation: ``python screenshots.py``.

Runs the demo, serves its admin and takes each page in light and dark, in English and Chinese, with
the installed Chromium. Needs Playwright, the packages of the demo and a Chinese font.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).resolve().parent
LANGUAGES = {"en": "en-US", "zh-hans": "zh-CN"}
SCHEMES = ("light", "dark")
SIZE = {"width": 1280, "height": 860}
DEMO = [sys.executable, str(HERE / "demo.py")]
WELCOME = re.compile(r"(http://\S+/admin/)\s+user (\S+), password (\S+);")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE.parent / "docs" / "images" / "admin")
    parser.add_argument("--port", type=int, default=8137)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("Not installed: chromium. On Debian: apt-get install chromium")
    with (
        tempfile.TemporaryDirectory() as folder,
        serve_admin(folder, arguments.port) as (url, *login),
        sync_playwright() as playwright,
    ):
        quiet = ["--no-sandbox", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium, args=quiet)
        for language, locale in LANGUAGES.items():
            for scheme in SCHEMES:
                save_screenshots(
                    browser, url, login, arguments.output / f"{language}-{scheme}", locale
                )
        browser.close()


@contextmanager
def serve_admin(folder: str, port: int) -> Iterator[tuple[str, str, str]]:
    """Run the demo and serve its admin; yield the address, the user and the password."""
    subprocess.run([*DEMO, "--folder", folder], check=True)
    command = [*DEMO, "--web", "--folder", folder, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            found = next(filter(None, map(WELCOME.search, server.stdout or [])))
            yield found[1], found[2], found[3]
        finally:
            server.terminate()


def save_screenshots(browser: Browser, url: str, login: list[str], name: Path, locale: str) -> None:
    """Save all pages in one language and one colour scheme as ``<name>-<page>.png``."""
    scheme = name.name.rpartition("-")[2]
    context = browser.new_context(color_scheme=scheme, locale=locale, viewport=SIZE)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    page.fill("#id_username", login[0])
    page.fill("#id_password", login[1])
    page.click("input[type=submit]")
    dashboard = f"{url}django_simpletask3/dashboard/"
    save_screenshot(page, f"{dashboard}?period=hour", name, "dashboard")
    save_screenshot(page, f"{dashboard}recoveries/", name, "recoveries")
    task = page.locator("table a[href*='/change/']").first.get_attribute("href")
    tasks = f"{url}pictures/thumbnail/"
    save_screenshot(page, f"{url}{task.partition('/admin/')[2]}" if task else tasks, name, "task")
    save_screenshot(page, tasks, name, "list")
    page.check("#action-toggle")
    page.select_option("select[name=action]", "django_simpletask3_reset_for_selected")
    page.click("button[name=index]")
    page.screenshot(path=f"{name}-confirmation.png")
    context.close()


def save_screenshot(page: Page, url: str, name: Path, page_name: str) -> None:
    page.goto(url)
    page.wait_for_load_state("load")
    path = f"{name}-{page_name}.png"
    if page_name == "task":
        # The outcome and the timeline, without the form of the project above.
        top, bottom = (
            page.evaluate(
                "selector => document.querySelector(selector).getBoundingClientRect()", selector
            )
            for selector in ("fieldset:has(.field-status_badge)", ".st3-timeline")
        )
        clip = {name: top[name] for name in ("x", "y", "width")}
        clip["height"] = bottom["bottom"] - top["y"]
        page.screenshot(path=path, full_page=True, clip=clip)  # type: ignore[arg-type]
    else:
        page.screenshot(path=path, full_page=page_name == "dashboard")


if __name__ == "__main__":
    main()
