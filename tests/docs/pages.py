"""The pages of the documentation, taken apart: tables, blocks of code, links, headings."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.project.sources import ROOT

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """The text without its blocks of code."""
        return _FENCE.sub("", self.text)

    @cached_property
    def anchors(self) -> set[str]:
        return {_anchor(title) for title in _HEADING.findall(self.prose)}

    @cached_property
    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    def blocks(self, language: str) -> list[str]:
        return [code for kind, code in _FENCE.findall(self.text) if kind == language]

    def block(self, language: str, containing: str) -> str:
        """The one block that contains this text."""
        (found,) = [code for code in self.blocks(language) if containing in code]
        return found

    @cached_property
    def rows(self) -> list[list[str]]:
        """The rows of all tables, cell by cell."""
        lines = [line for line in self.prose.splitlines() if line.startswith("|")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    def row(self, name: str) -> list[str]:
        """The one table row that begins with ``name``."""
        (found,) = [row for row in self.rows if row[0].startswith("`") and name in words(row[0])]
        return found

    def named(self) -> set[str]:
        """What the tables have rows for."""
        return {word for row in self.rows if row[0].startswith("`") for word in words(row[0])}


def words(cell: str) -> list[str]:
    """What a cell names in code."""
    return _CODE.findall(cell)


def _anchor(title: str) -> str:
    """As GitHub makes it."""
    kept = re.sub(r"[^\w\- ]", "", title.replace("`", "").lower())
    return kept.replace(" ", "-")


README = Page(ROOT / "README.md")
README_ZH = Page(ROOT / "README.zh-hans.md")
DOCS = ROOT / "docs"
QUICKSTART = Page(DOCS / "quickstart.md")
QUICKSTART_ZH = Page(DOCS / "quickstart.zh-hans.md")


def reference(name: str) -> Page:
    return Page(DOCS / "reference" / f"{name}.md")


PAGES = [
    Page(path)
    for path in (
        *sorted(ROOT.glob("*.md")),
        *sorted(DOCS.rglob("*.md")),
        ROOT / "benchmarks" / "README.md",
        ROOT / "migrations_templates" / "README.md",
    )
]
