"""``manage.py django-simpletask3-rename``: write the migration of a renamed task model."""

from __future__ import annotations

from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.core.management.commands import makemigrations

from ...schema.autodetector import history_autodetector_for

_UNUSED_OPTIONS = {"merge": False, "empty": False, "check_changes": False, "update": False}


class Command(makemigrations.Command):
    """Write a migration that renames a task model together with its events."""

    help = "Creates the migration for a task model whose class was renamed, with its event model."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "model", metavar="APP.MODEL", help="The label of the model before it was renamed."
        )
        parser.add_argument("new_name", metavar="NAME", help="The new name of its class.")
        parser.add_argument(
            "--noinput",
            "--no-input",
            action="store_false",
            dest="interactive",
            help="Tells Django to NOT prompt the user about other changes.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Displays the migration; does not write it."
        )
        parser.add_argument("-n", "--name", help="Use this name for the migration file.")
        parser.set_defaults(include_header=True, scriptable=False)

    def handle(self, *args: Any, **options: Any) -> None:
        label, _, old_name = options["model"].partition(".")
        if not old_name:
            raise CommandError("Name the model with its app, like app.Invoice.")
        try:
            label = apps.get_app_config(label).label
        except LookupError as error:
            raise CommandError(str(error)) from error
        pair = ((label, old_name.lower()), (label, options["new_name"].lower()))
        detector: Any = history_autodetector_for(makemigrations.Command.autodetector)
        vars(self)["autodetector"] = partial(detector, renamed=pair)
        super().handle(label, **{**options, **_UNUSED_OPTIONS})
