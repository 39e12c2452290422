"""``manage.py django-simpletask3-migrations``: write what makemigrations cannot detect."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.core.management.base import BaseCommand, CommandError
from django.core.management.commands import makemigrations
from django.db.migrations import Migration
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import MigrationWriter
from django.utils import timezone

from ...schema.missing_migrations import (
    Template,
    event_model_apps,
    migration_history,
    render,
)
from ...schema.partition import MONTH
from ...schema.protect import PACKAGE
from ...schema.safe_fields import replace_safe_fields

_DEFAULT_TEMPLATES = (Template.UPGRADE, Template.BACKFILL, Template.PROTECT)
_SAFE_FIELDS = (
    "Migrations of 0.1.x import django_safe_fields, which is not installed. Install it, or use "
    "--replace-safe-fields to replace its fields with text columns."
)


class Command(BaseCommand):
    """Write the missing migrations of apps from templates."""

    help = (
        "Creates the migrations that makemigrations cannot detect: to upgrade from 0.1.x, to write "
        "events for existing rows, to make event tables append-only, to partition them by month."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("app", nargs="*", help="Labels of the apps; defaults to all apps.")
        parser.add_argument(
            "--template",
            action="append",
            choices=[str(template) for template in Template],
            help="Creates only this migration. Repeat it for several. The default is all that are "
            "missing, without partitions.",
        )
        parser.add_argument(
            "--until",
            metavar="YYYY-MM",
            help="The last month to partition; defaults to two years from now.",
        )
        parser.add_argument(
            "--replace-safe-fields",
            action="store_true",
            help="First replaces the fields of django_safe_fields in migrations of 0.1.x.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Displays the migrations; does not write them."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        configs = _configs(options["app"])
        until = options["until"] or _default_until()
        if not MONTH.fullmatch(until):
            raise CommandError(f"--until is {until!r}: write a month as YYYY-MM, like 2027-12.")
        templates = [Template(name) for name in options["template"] or _DEFAULT_TEMPLATES]
        self.is_dry = options["dry_run"]
        if options["replace_safe_fields"]:
            self._replace_safe_fields(configs)
        loader = _loader()
        written = [self._write_missing(loader, c.label, templates, until) for c in configs]
        if not any(written):
            self.stdout.write("No migrations are missing.")

    def _write_missing(
        self, loader: MigrationLoader, label: str, templates: list[Template], until: str
    ) -> bool:
        """Write the missing migrations of an app, one after the other; whether there were any."""
        history = migration_history(label, loader)
        models_by_template = {name: history.models_missing(name) for name in templates}
        missing = {name: models for name, models in models_by_template.items() if models}
        if not missing:
            return False
        _reject_unmigrated_changes(loader, label)
        newest = _newest_migration(loader, label)
        for template, models in missing.items():
            dependencies = [(label, newest), *_extra_dependencies(loader, label, template)]
            text = render(template, models, dependencies, until)
            number = (MigrationAutodetector.parse_number(newest) or 0) + 1
            newest = f"{number:04d}_{template}"
            self._write(label, newest, text, models)
        return True

    def _write(self, label: str, name: str, text: str, models: list[str]) -> None:
        path = Path(MigrationWriter(Migration(name, label)).path)
        if self.is_dry:
            self.stdout.write(f"# {path}\n{text}")
            return
        if path.exists():
            raise CommandError(f"{path} already exists.")
        path.write_text(text, encoding="utf-8")
        self.stdout.write(f"{path}: {', '.join(models)}")

    def _replace_safe_fields(self, configs: list[AppConfig]) -> None:
        for config in configs:
            for path in sorted((Path(config.path) / "migrations").glob("*.py")):
                text = path.read_text(encoding="utf-8")
                if (changed := replace_safe_fields(text)) == text:
                    continue
                if not self.is_dry:
                    path.write_text(changed, encoding="utf-8")
                self.stdout.write(f"{path}: without django_safe_fields")


def _configs(labels: list[str]) -> list[AppConfig]:
    try:
        return [apps.get_app_config(label) for label in labels] or list(apps.get_app_configs())
    except LookupError as error:
        raise CommandError(str(error)) from error


def _loader() -> MigrationLoader:
    """Load all migrations, without a database."""
    try:
        return MigrationLoader(None)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "django_safe_fields":
            raise
        raise CommandError(_SAFE_FIELDS) from error


def _newest_migration(loader: MigrationLoader, label: str) -> str:
    leaves = loader.graph.leaf_nodes(label)
    if len(leaves) > 1:
        names = ", ".join(name for _, name in leaves)
        raise CommandError(
            f"The app {label} has several newest migrations ({names}). "
            f"Run manage.py makemigrations --merge {label} first."
        )
    return str(leaves[0][1])


def _extra_dependencies(
    loader: MigrationLoader, label: str, template: Template
) -> list[tuple[str, str]]:
    """The migrations of other apps on which the migration from ``template`` depends."""
    if template is Template.PROTECT:
        return [(PACKAGE, "0001_initial")]
    if template in (Template.BACKFILL, Template.UPGRADE):
        return [(app, _newest_migration(loader, app)) for app in event_model_apps(loader, label)]
    return []


def _reject_unmigrated_changes(loader: MigrationLoader, label: str) -> None:
    """Raise CommandError if the app's models have changes that are not in a migration."""
    detector = makemigrations.Command.autodetector(
        loader.project_state(), ProjectState.from_apps(apps)
    )
    if label in detector.changes(graph=loader.graph):
        raise CommandError(
            f"The models of {label} have changes that are not in a migration. "
            f"Run manage.py makemigrations {label} first."
        )


def _default_until() -> str:
    now = timezone.now()
    return f"{now.year + 2}-{now.month:02d}"
