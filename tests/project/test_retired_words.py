"""The project names things by the terms of the glossary; its retired words stay out."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.project.sources import ROOT

WORDS = Path(__file__).with_name("retired_words.txt")
FOLDERS = (
    "django_simpletask3",
    "tests",
    "benchmarks",
    "docs",
    "example_project",
    "migrations_templates",
)
SUFFIXES = {".css", ".html", ".js", ".lua", ".md", ".po", ".py", ".py-tpl", ".toml", ".yml", ""}
#: This test and its list.
OWN = {WORDS, Path(__file__)}


@cache
def retired_words() -> re.Pattern[str]:
    lines = WORDS.read_text(encoding="utf-8").splitlines()
    entries = [re.split(r"\s{2,}", line)[0] for line in lines if line and line[0] != "#"]
    return re.compile(rf"\b(?:{'|'.join(entries)})\b", re.IGNORECASE)


def files() -> list[Path]:
    top = [path for path in ROOT.iterdir() if path.is_file() and path.suffix in {".md", ".py"}]
    inner = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    return sorted(
        path
        for path in {*top, *inner} - OWN
        if path.is_file() and path.suffix in SUFFIXES and "__pycache__" not in path.parts
    )


def offences(text: str) -> list[tuple[int, str]]:
    """The retired words in ``text`` with the numbers of their lines."""
    return [
        (number, match.group().lower())
        for number, line in enumerate(text.splitlines(), start=1)
        for match in retired_words().finditer(_split_names(line))
    ]


def offences_in(path: Path) -> list[tuple[int, str]]:
    """The retired words in a file."""
    return offences(path.read_text(encoding="utf-8", errors="ignore"))


def _split_names(line: str) -> str:
    """``line`` with a space between the words of each identifier."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_+", " ", line)


@pytest.mark.parametrize(
    "text",
    [
        "def ring_all(): ...",
        "class NewbornTask: ...",
        'logger.info("bell_failed")',
        "# The worker obeys.",
        "local told = 1",
    ],
)
def test_a_retired_word_is_found(text: str) -> None:
    assert offences(text)


@pytest.mark.parametrize("text", ["a string", "kind of keeping", "opens", "insight", "ringleader"])
def test_a_word_that_only_contains_one_is_not(text: str) -> None:
    assert not offences(text)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_no_retired_word(path: Path) -> None:
    assert not offences_in(path)
