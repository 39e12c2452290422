"""The long description works on the package index, which has none of the repository's files."""

import re
import runpy
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.project.sources import ROOT


@pytest.fixture
def description(monkeypatch: pytest.MonkeyPatch) -> str:
    """The long description that setup.py passes to setuptools."""
    metadata: dict[str, Any] = {}
    fake = SimpleNamespace(setup=metadata.update, find_packages=lambda **_: [])
    monkeypatch.setitem(sys.modules, "setuptools", fake)
    runpy.run_path(str(ROOT / "setup.py"))
    return str(metadata["long_description"])


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", text)


def test_it_has_no_relative_link(description: str) -> None:
    assert links(description)
    assert [link for link in links(description) if not link.startswith("https://")] == []


def test_it_keeps_the_links_to_other_sites(description: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert links(description) == [link for link in links(readme) if link.startswith("https://")]


def test_it_shows_no_picture_and_announces_none(description: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert readme.count("<picture>") == 2
    assert "docs/images" not in description
    assert "a dashboard in trouble" not in description


def test_it_keeps_headings_code_and_tables(description: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    for start in ("#", "```", "|"):
        kept = [line for line in description.splitlines() if line.startswith(start)]
        assert len(kept) == sum(line.startswith(start) for line in readme.splitlines())


def test_a_sentence_that_is_only_a_link_is_left_out(description: str) -> None:
    assert "More about each" not in description
    assert "\n\n\n" not in description
