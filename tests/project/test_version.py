"""One version, said once."""

import re

import django_simpletask3
from tests.project.sources import ROOT


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    newest = re.search(r"^## (\d+\.\d+\.\d+)", text, re.MULTILINE)

    assert newest
    assert newest[1] == django_simpletask3.__version__
