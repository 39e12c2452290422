"""django-simpletask3-migrations writes what an app lacks, and nothing else."""

from pathlib import Path

import pytest
from django.conf import settings

from tests.projects import INVOICE, TRANSFER, Project, sqlite

pytestmark = pytest.mark.once

COMMAND = "django-simpletask3-migrations"


@pytest.fixture
def made(tmp_path: Path, redis_url: str) -> Project:
    """A project with a task model and its first migration."""
    prefix = f"{settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX}-upgrades"
    project = Project(tmp_path, sqlite(tmp_path), redis_url, prefix)
    project.models(INVOICE)
    project.manage("makemigrations", "app")
    return project


def test_every_app_gets_what_it_lacks_once(made: Project) -> None:
    first = made.manage(COMMAND)
    second = made.manage(COMMAND)

    assert "0002_protect_events.py: InvoiceEvent" in first
    assert "No migrations are missing." in second
    assert len(made.migrations()) == 2
    made.manage("makemigrations", "--check", "--dry-run")


def test_a_new_model_lacks_its_own(made: Project) -> None:
    made.manage(COMMAND)
    made.models(INVOICE, TRANSFER)
    made.manage("makemigrations", "app")

    assert "0004_protect_events.py: TransferRecord\n" in made.manage(COMMAND, "app")


def test_a_dry_run_writes_nothing(made: Project) -> None:
    said = made.manage(COMMAND, "--dry-run")

    assert 'ProtectEvents("invoiceevent"),' in said
    assert len(made.migrations()) == 1


def test_models_that_no_migration_knows_come_first(made: Project) -> None:
    made.models(INVOICE.replace("default=0", "default=7"))

    said = made.stopped(COMMAND, "app")

    assert "manage.py makemigrations app" in said


def test_two_newest_migrations_are_merged_first(made: Project) -> None:
    for name in ("0002_one", "0002_two"):
        made.write(
            f"app/migrations/{name}.py",
            "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n"
            '    dependencies = [("app", "0001_initial")]\n',
        )

    said = made.stopped(COMMAND, "app")

    assert "makemigrations --merge app" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "No installed app with label 'nowhere'"),
        (["app", "--template", "partition_events", "--until", "next year"], "YYYY-MM"),
        (["app", "--template", "partition_events", "--until", "2030-13"], "YYYY-MM"),
    ],
)
def test_what_cannot_be_is_refused(made: Project, arguments: list[str], words: str) -> None:
    assert words in made.stopped(COMMAND, *arguments)
    assert len(made.migrations()) == 1


def test_a_renamed_model_lacks_what_it_lacked(made: Project) -> None:
    report = INVOICE.replace("Invoice", "Report")
    for models in (report.replace("SimpleTask", "models.Model"), report):
        made.models(INVOICE, models)
        made.manage("makemigrations", "app")
    made.models(INVOICE, report.replace("Report", "Paper"))
    made.manage("django-simpletask3-rename", "app.Report", "Paper")

    said = made.manage(COMMAND, "app")

    assert "0005_backfill_events.py: Paper\n" in said
    assert "0006_protect_events.py: InvoiceEvent, PaperEvent\n" in said


def test_encrypted_columns_of_the_project_stay(made: Project) -> None:
    made.write(
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

    assert "Install it" in made.stopped(COMMAND, "app", "--replace-safe-fields")

    text = made.newest()
    assert '("result_data", models.TextField(null=True)),' in text
    assert "field=models.TextField(null=True)," in text
    assert '("iban", django_safe_fields.fields.SafeTextField(null=True)),' in text
    assert text.startswith("import django_safe_fields.fields\n")
