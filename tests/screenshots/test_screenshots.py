"""Every page looks as the documentation shows it, and can be used by everyone.

``make screenshots`` stores the screenshots anew.
"""

import os

import pytest

from tests.project.sources import ROOT
from tests.screenshots import comparison
from tests.screenshots.browser import launch
from tests.screenshots.pages import PAGES, VIEWS
from tests.screenshots.servers import serve
from tests.screenshots.visit import Visit, Visitor

pytestmark = pytest.mark.once

STORED = ROOT / "docs" / "images" / "admin"
#: Where screenshots that differ are written.
SEEN = ROOT / "build" / "screenshots"
STORES = "STORE_SCREENSHOTS" in os.environ


@pytest.mark.parametrize("scene", sorted({page.scene for page in PAGES}))
def test_every_page_looks_as_documented_and_can_be_used(scene, axe, tmp_path) -> None:
    problems: list[str] = []
    with serve(scene, tmp_path) as site, launch(tmp_path) as chromium:
        visitor = Visitor(chromium, site, axe)
        for page in PAGES:
            if page.scene == scene:
                visit = visitor.visit(page)
                problems += visit.problems + differences(visit)

    assert not problems, "\n".join(["", *problems])


def test_no_other_screenshots_are_stored() -> None:
    names = {f"{page.name}.{view.name}.png" for page in PAGES for view in VIEWS}
    others = [file for file in STORED.iterdir() if file.name not in names]

    if STORES:
        for file in others:
            file.unlink()
    else:
        assert others == []


def differences(visit: Visit) -> list[str]:
    """In what the screenshots of ``visit`` differ from the stored ones; or store them."""
    found = []
    for name, screenshot in visit.screenshots.items():
        stored = STORED / f"{name}.png"
        difference = comparison.compare(screenshot, stored)
        if difference and STORES:
            comparison.store(screenshot, stored)
        elif difference:
            seen, marked = SEEN / f"{name}.png", SEEN / f"{name}.difference.png"
            SEEN.mkdir(parents=True, exist_ok=True)
            screenshot.save(seen)
            difference.picture.save(marked)
            found.append(
                f"{name}: {difference.text}: see {seen} and {marked}; "
                "make screenshots stores it anew"
            )
    return found
