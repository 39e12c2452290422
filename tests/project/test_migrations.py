"""No language and no upgrade may make Django write a migration in a user's app."""

import os
import re
import subprocess
import sys

import pytest

from tests.project.sources import ROOT

EXAMPLE = ROOT / "example_project"
LANGUAGES = ["en", "zh-hans", "zh-hant", "de", "fr", "ja", "ar", "pt-br", "ru"]
# Names are translated when the models are imported, if they are translated too early: the language
# has to be set before.
CHECK = """
import sys
from django.conf import settings
from django.core.management import execute_from_command_line
settings.LANGUAGE_CODE = sys.argv[1]
settings.LANGUAGES = [(sys.argv[1], sys.argv[1])]
execute_from_command_line(["manage.py", "makemigrations", "--check", "--dry-run"])
"""


def settings_module() -> str:
    """The settings that the example's manage.py uses."""
    text = (EXAMPLE / "manage.py").read_text(encoding="utf-8")
    found = re.search(r'DJANGO_SETTINGS_MODULE",\s*"([\w.]+)"', text)
    assert found, "manage.py names no settings"
    return found[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_example_needs_no_new_migration(language: str) -> None:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": settings_module(),
        "PYTHONPATH": os.pathsep.join([str(EXAMPLE), str(ROOT)]),
    }

    done = subprocess.run(
        [sys.executable, "-c", CHECK, language],
        cwd=EXAMPLE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "No changes detected" in done.stdout


def test_no_migration_has_choices() -> None:
    """A new choice, or another word for one, would be a migration of every project."""
    for path in (ROOT / "django_simpletask3").glob("**/migrations/*.py"):
        assert "choices=" not in path.read_text(), path
