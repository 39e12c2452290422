"""Migrations import operations from ``django_simpletask3.operations`` and from nowhere else."""

import re
from pathlib import Path

import pytest
from django.db.migrations import Migration
from django.db.migrations.writer import MigrationWriter

from django_simpletask3 import operations
from django_simpletask3.schema.missing_migrations import Template, render

ARGUMENTS = {
    "BackfillEvents": ("invoice", 40),
    "DropHistory": ("invoiceevent", "obsolete"),
    "ExtendPartitions": ("invoiceevent", "2027-12"),
    "PartitionEvents": ("invoiceevent", "2027-12"),
    "ProtectEvents": ("invoiceevent",),
    "RenameTaskModel": ("Invoice", "Bill"),
    "UnprotectEvents": ("invoiceevent",),
    "UpgradeFrom01": ("invoice", True),
}


def test_every_operation_is_tested_here() -> None:
    assert set(operations.__all__) == ARGUMENTS.keys()


@pytest.mark.parametrize(("name", "arguments"), ARGUMENTS.items())
def test_the_migration_writer_emits_the_public_path(name: str, arguments: tuple[str]) -> None:
    migration = Migration("0002_squashed", "app")
    migration.operations = [getattr(operations, name)(*arguments)]

    text = MigrationWriter(migration).as_string()

    assert f"django_simpletask3.operations.{name}(" in text
    assert package_modules(text) == {"django_simpletask3.operations"}


@pytest.mark.parametrize("template", Template)
def test_templates_import_the_public_path(template: Template) -> None:
    text = render(template, ["Invoice"], [("app", "0001_initial")], "2027-12")

    allowed = {"django_simpletask3.operations", "django_simpletask3.states"}
    assert package_modules(text) <= allowed


def test_migrations_of_the_tests_import_the_public_path() -> None:
    for path in Path(__file__).parents[1].glob("*/migrations/*.py"):
        assert package_modules(path.read_text()) <= {"django_simpletask3.operations"}, path


def package_modules(text: str) -> set[str]:
    """The modules of the package that a migration imports."""
    return set(re.findall(r"^(?:from|import) (django_simpletask3[\w.]*)", text, re.MULTILINE))
