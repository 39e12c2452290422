"""The top level of the repository holds what is agreed and nothing else."""

import subprocess

from tests.project.sources import ROOT

AGREED = {
    "django_simpletask3",
    "migrations_templates",
    "tests",
    "docs",
    "example_project",
    "benchmarks",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "README.zh-hans.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
}


def test_the_top_level_is_as_agreed() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )

    names = {path.split("/")[0] for path in listed.stdout.split("\0") if path}

    assert {name for name in names if not name.startswith(".")} == AGREED
