"""``manage.py django-simpletask3-prune``: let go of what the models' retention says."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...context import task_context
from ...models.registry import table_models
from ...retention.prune import REASON, PruneOptions, PruneResult, prune
from ...retention.rules import parse_rules
from ..arguments import operator, select_models
from ..progress import Progress


class Command(BaseCommand):
    """Delete tasks, streams and payloads that are old enough."""

    help = (
        "Deletes finished tasks, their payloads, and streams of deleted tasks, as the models' "
        "django_simpletask3_retention says. What is on hold stays; what goes leaves a tombstone."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--model",
            action="append",
            metavar="APP.MODEL",
            help="only these task models; repeat it, or separate with commas",
        )
        parser.add_argument("--dry-run", action="store_true", help="count, and delete nothing")
        parser.add_argument("--reason", default=REASON, help="what the tombstones say (retention)")
        parser.add_argument("--batch-size", type=int, default=500, help="tasks at a time (500)")
        parser.add_argument(
            "--pause", type=float, default=0.05, metavar="SECONDS", help="between batches (0.05)"
        )
        parser.add_argument("--json", action="store_true", help="one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["batch_size"] < 1 or options["pause"] < 0:
            raise CommandError("--batch-size must be 1 or more, --pause 0 or more.")
        models = select_models(options["model"])
        results = self._prune(models, options)
        if options["json"]:
            self.stdout.write(json.dumps([_result_as_dict(result) for result in results]))
            return
        for result in results:
            self.stdout.write(_summary(result, options["dry_run"]))
        roots_without_rules = [
            root
            for root in table_models(models)
            if not parse_rules(root.django_simpletask3_retention)
        ]
        for root in roots_without_rules if options["verbosity"] > 1 or not results else ():
            self.stdout.write(f"{root._meta.label}: keeps everything")

    def _prune(self, models: Any, options: dict[str, Any]) -> list[PruneResult]:
        is_dry, size = options["dry_run"], options["batch_size"]
        progress = _progress_bar(models, size)
        reported: dict[int, int] = {}

        def on_batch(result: PruneResult) -> None:
            progress.add(result.gone - reported.get(id(result), 0))
            reported[id(result)] = result.gone
            time.sleep(0 if is_dry else options["pause"])

        plan = PruneOptions(size=size, reason=options["reason"], dry_run=is_dry, on_batch=on_batch)
        with task_context(actor=operator()):
            results = list(prune(models, plan))
        progress.clear()
        return results


def _progress_bar(models: Any, size: int) -> Progress:
    """A bar for all that is to go, if somebody will see it: it has to be counted first."""
    if not sys.stderr.isatty():
        return Progress(sys.stderr, 0)
    return Progress(
        sys.stderr, sum(result.gone for result in prune(models, PruneOptions(size, dry_run=True)))
    )


def _result_as_dict(result: PruneResult) -> dict[str, Any]:
    return {**asdict(result), "rule": str(result.rule)}


def _summary(result: PruneResult, is_dry: bool) -> str:
    verb = "would go" if is_dry else "gone"
    text = f"{result.model} ({result.database}), {result.rule}: {result.gone} {verb}"
    for count, word in ((result.held, "on hold"), (result.protected, "protected by a foreign key")):
        text += f", {count} {word}" if count else ""
    return text
