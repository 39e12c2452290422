"""Visit a page in all views: take its screenshots, and note what is wrong with it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from PIL import Image

from tests.browser.accessibility import violations
from tests.screenshots import comparison
from tests.screenshots.pages import NOW, VIEWS, Page
from tests.screenshots.servers import Site

#: A window of 1280 px at 200 %.
ZOOMED = 640
#: Icons of stylesheets are read once they are shown, such as those that Django's scripts add.
_LOAD_BACKGROUNDS = """
Promise.all([...document.querySelectorAll("*")]
  .map((element) => getComputedStyle(element).backgroundImage.match(/^url\\("(http.*)"\\)$/))
  .filter((match) => match)
  .map(([, url]) => { const image = new Image(); image.src = url; return image.decode(); }))
"""
_TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Visit:
    """What was seen of a page: its screenshots by their names, and what is wrong with it."""

    screenshots: dict[str, Image.Image] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Visitor:
    """A user in front of the browser."""

    def __init__(self, chromium: Any, site: Site, axe: str) -> None:
        self._site, self._axe = site, axe
        self._complaints: list[str] = []
        locales = {view.locale for view in VIEWS}
        self._pages = {locale: self._open(chromium, locale) for locale in locales}

    def _open(self, chromium: Any, locale: str) -> Any:
        context = chromium.new_context(
            locale=locale, timezone_id="UTC", device_scale_factor=1, reduced_motion="reduce"
        )
        cookie = {"name": "sessionid", "value": self._site.session, "url": self._site.url}
        context.add_cookies([cookie])
        page = context.new_page()
        page.clock.set_fixed_time(NOW)
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self._complaints.append(str(error)))
        return page

    def _note_console(self, message: Any) -> None:
        asked = (message.location or {}).get("url", "")
        if message.type in ("error", "warning") and not asked.endswith("/favicon.ico"):
            self._complaints.append(message.text)

    def visit(self, page: Page) -> Visit:
        """Load ``page`` once in each language, and show it in all views."""
        visit = Visit()
        for locale, views in groupby(VIEWS, lambda view: view.locale):
            shown = self._pages[locale]
            self._load(shown, page)
            for view in views:
                _show(shown, view.scheme, view.width)
                visit.screenshots[f"{page.name}.{view.name}"] = _take(shown, page.is_whole)
            visit.problems += [f"{page.name}, {locale}: {text}" for text in self._complaints]
        visit.problems += [f"{page.name}: {text}" for text in self._examine(self._pages["en-US"])]
        self._complaints.clear()  # axe-core breaks the policy
        return visit

    def _load(self, shown: Any, page: Page) -> None:
        self._complaints.clear()
        _show(shown, "light", 1280)
        shown.goto(self._site.url + (page.path or self._site.tasks[page.task]))
        page.prepare(shown)
        shown.evaluate("document.fonts.ready")
        shown.evaluate(_LOAD_BACKGROUNDS)

    def _examine(self, shown: Any) -> Iterator[str]:
        """What is wrong with the page that is shown."""
        for width in (360, ZOOMED):
            _show(shown, "light", width)
            if wide := shown.evaluate(_TOO_WIDE):
                yield f"in a window of {width} px it is {wide} px too wide"
        for scheme in ("light", "dark"):
            _show(shown, scheme, 1280)
            for rule, html in violations(shown, self._axe):
                yield f"axe, {scheme}: {rule}: {html}"


def _show(shown: Any, scheme: str, width: int) -> None:
    shown.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    shown.set_viewport_size({"width": width, "height": 800})
    # Django's links take their time to change their colours.
    shown.evaluate("document.getAnimations().forEach((animation) => animation.finish())")


def _take(shown: Any, is_whole: bool) -> Image.Image:
    screenshot = shown.screenshot(full_page=is_whole, animations="disabled", caret="hide")
    return comparison.read(screenshot)
