"""Every text of the package has its Chinese words, and the compiled catalogue holds them."""

import gettext
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.utils import translation

from django_simpletask3.ledger.fields import KIND, STATUS
from django_simpletask3.models import SimpleTask
from tests.conftest import missing
from tests.project.sources import PACKAGE, ROOT
from tests.testapp.models import InvoiceEvent

CATALOGUE = ROOT / PACKAGE / "locale" / "zh_Hans" / "LC_MESSAGES" / "django"


def texts(compiled: Path) -> dict[str, str]:
    """The catalogue of a .mo file, one entry per text; the header is none."""
    with compiled.open("rb") as file:
        loaded = vars(gettext.GNUTranslations(file))["_catalog"]
    named = {key[0] if isinstance(key, tuple) else key: value for key, value in loaded.items()}
    return {key: value for key, value in named.items() if key}


def run(*words: str | Path, cwd: Path) -> None:
    if shutil.which(str(words[0])) is None:
        missing("gettext")
    bare = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO")}
    subprocess.run(words, cwd=cwd, env=bare, check=True, capture_output=True, timeout=120)


@pytest.fixture
def extracted(tmp_path: Path) -> dict[str, str]:
    """The texts in the sources, each as its own translation."""
    sources = tmp_path / PACKAGE
    shutil.copytree(ROOT / PACKAGE, sources, ignore=shutil.ignore_patterns("*.po", "*.mo"))
    if shutil.which("xgettext") is None:
        missing("gettext")
    run(sys.executable, "-P", "-m", "django", "makemessages", "--locale", "de", cwd=sources)
    found = sources / "locale" / "de" / "LC_MESSAGES" / "django.po"
    run("msgen", "--output-file", tmp_path / "all.po", found, cwd=tmp_path)
    run("msgfmt", "--output-file", tmp_path / "all.mo", tmp_path / "all.po", cwd=tmp_path)
    return texts(tmp_path / "all.mo")


def test_every_text_of_the_sources_is_translated_and_no_other(extracted: dict[str, str]) -> None:
    """Untranslated and fuzzy ones are not compiled."""
    assert texts(CATALOGUE.with_suffix(".mo")).keys() == extracted.keys()


def test_the_compiled_catalogue_is_fresh(tmp_path: Path) -> None:
    run(
        "msgfmt",
        "--check",
        "--output-file",
        tmp_path / "fresh.mo",
        CATALOGUE.with_suffix(".po"),
        cwd=tmp_path,
    )

    assert texts(CATALOGUE.with_suffix(".mo")) == texts(tmp_path / "fresh.mo")


def test_every_translation_is_chinese() -> None:
    compiled = texts(CATALOGUE.with_suffix(".mo"))

    foreign = {
        text
        for text, words in compiled.items()
        if not any("\u4e00" <= letter <= "\u9fff" for letter in words)
    }

    assert not foreign


def test_names_and_choices_change_with_the_language() -> None:
    shown = [
        *(label for _, label in [*STATUS, *KIND]),
        *(field.verbose_name for field in SimpleTask._meta.fields),
        *(field.verbose_name for field in InvoiceEvent._meta.fields if field.name != "id"),
    ]

    with translation.override("en"):
        english = list(map(str, shown))
    with translation.override("zh-hans"):
        chinese = list(map(str, shown))

    assert not set(english) & set(chinese)
