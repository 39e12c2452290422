"""The glossary names what the code and the admin contain."""

import re
from functools import cache

import pytest
from django.utils import translation

from django_simpletask3.ledger.fields import KIND
from django_simpletask3.states import EventKind
from tests.docs.pages import reference, words
from tests.project.sources import PACKAGE, ROOT, package_sources

ROWS = [
    row for row in reference("glossary").rows if len(row) == 5 and row[0] not in {"term", "---"}
]
CATALOGUE = ROOT / PACKAGE / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"


@cache
def names_in_the_code() -> set[str]:
    """Every identifier of the package, and the parts of the names of its modules."""
    texts = [source.path.read_text(encoding="utf-8") for source in package_sources()]
    modules = [source.name for source in package_sources()]
    return set(re.findall(r"\w+", " ".join([*texts, *modules])))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_term_has_its_name_in_the_code(row: list[str]) -> None:
    assert set(words(row[2])) <= names_in_the_code()


@pytest.mark.parametrize("row", [row for row in ROWS if row[3]], ids=lambda row: row[0])
def test_a_word_of_the_admin_is_in_its_catalogue(row: list[str]) -> None:
    catalogue = CATALOGUE.read_text(encoding="utf-8").lower()

    assert row[3] in catalogue
    assert row[4] in catalogue


def test_a_term_is_explained_once() -> None:
    terms = [row[0] for row in ROWS]

    assert len(set(terms)) == len(terms)


@pytest.mark.parametrize("kind", list(EventKind))
def test_a_kind_of_event_has_the_words_of_the_admin(kind: EventKind) -> None:
    with translation.override("en"):
        english = str(KIND[kind])
    with translation.override("zh-hans"):
        chinese = str(KIND[kind])

    assert [str(kind), english, chinese] in [[*words(row[2]), *row[3:]] for row in ROWS]
