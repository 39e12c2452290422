"""django-simpletask3-migrations writes the missing migrations of an app, once."""

from pathlib import Path

import pytest
from django.conf import settings

from tests.projects import INVOICE, TRANSFER, Project, sqlite

pytestmark = pytest.mark.once

COMMAND = "django-simpletask3-migrations"


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Project:
    """A project with a task model and its first migration."""
    prefix = f"{settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX}-upgrades"
    project = Project(tmp_path, sqlite(tmp_path), redis_url, prefix)
    project.models(INVOICE)
    project.manage("makemigrations", "app")
    return project


def test_missing_migrations_are_written_once(project: Project) -> None:
    first = project.manage(COMMAND)
    second = project.manage(COMMAND)

    assert "0002_protect_events.py: InvoiceEvent" in first
    assert "No migrations are missing." in second
    assert len(project.migrations()) == 2
    project.manage("makemigrations", "--check", "--dry-run")


def test_a_new_model_gets_its_own_migration(project: Project) -> None:
    project.manage(COMMAND)
    project.models(INVOICE, TRANSFER)
    project.manage("makemigrations", "app")

    assert "0004_protect_events.py: TransferRecord\n" in project.manage(COMMAND, "app")


def test_a_dry_run_writes_nothing(project: Project) -> None:
    output = project.manage(COMMAND, "--dry-run")

    assert 'ProtectEvents("invoiceevent"),' in output
    assert len(project.migrations()) == 1


def test_unmigrated_changes_are_rejected(project: Project) -> None:
    project.models(INVOICE.replace("default=0", "default=7"))

    output = project.manage_fails(COMMAND, "app")

    assert "manage.py makemigrations app" in output


def test_unmerged_migrations_are_rejected(project: Project) -> None:
    for name in ("0002_one", "0002_two"):
        project.write(
            f"app/migrations/{name}.py",
            "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n"
            '    dependencies = [("app", "0001_initial")]\n',
        )

    output = project.manage_fails(COMMAND, "app")

    assert "makemigrations --merge app" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "No installed app with label 'nowhere'"),
        (["app", "--template", "partition_events", "--until", "next year"], "YYYY-MM"),
        (["app", "--template", "partition_events", "--until", "2030-13"], "YYYY-MM"),
    ],
)
def test_invalid_arguments_are_rejected(
    project: Project, arguments: list[str], message: str
) -> None:
    assert message in project.manage_fails(COMMAND, *arguments)
    assert len(project.migrations()) == 1


def test_a_renamed_model_still_lacks_its_migrations(project: Project) -> None:
    report = INVOICE.replace("Invoice", "Report")
    for models in (report.replace("SimpleTask", "models.Model"), report):
        project.models(INVOICE, models)
        project.manage("makemigrations", "app")
    project.models(INVOICE, report.replace("Report", "Paper"))
    project.manage("django-simpletask3-rename", "app.Report", "Paper")

    output = project.manage(COMMAND, "app")

    assert "0005_backfill_events.py: Paper\n" in output
    assert "0006_protect_events.py: InvoiceEvent, PaperEvent\n" in output


def test_other_encrypted_columns_stay(project: Project) -> None:
    project.write(
        "app/migrations/0002_own.py",
        "import django_safe_fields.fields\nfrom django.db import migrations, models\n\n\n"
        "class Migration(migrations.Migration):\n"
        '    dependencies = [("app", "0001_initial")]\n'
        "    operations = [\n"
        "        migrations.CreateModel(\n"
        '            name="Old",\n'
        "            fields=[\n"
        '                ("id", models.BigAutoField(primary_key=True)),\n'
        '                ("result_data", django_safe_fields.fields.SafeTextField(null=True)),\n'
        '                ("iban", django_safe_fields.fields.SafeTextField(null=True)),\n'
        "            ],\n"
        "        ),\n"
        "        migrations.AddField(\n"
        '            model_name="old",\n'
        '            name="error_data",\n'
        "            field=django_safe_fields.fields.SafeTextField(null=True),\n"
        "        ),\n"
        "    ]\n",
    )

    assert "Install it" in project.manage_fails(COMMAND, "app", "--replace-safe-fields")

    text = project.newest()
    assert '("result_data", models.TextField(null=True)),' in text
    assert "field=models.TextField(null=True)," in text
    assert '("iban", django_safe_fields.fields.SafeTextField(null=True)),' in text
    assert text.startswith("import django_safe_fields.fields\n")
