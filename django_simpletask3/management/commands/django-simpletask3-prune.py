"""``manage.py django-simpletask3-prune``: delete old data by the models' retention rules."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from ...context import task_context
from ...models.registry import table_models
from ...retention.prune import REASON, PruneOptions, PruneResult, prune
from ...retention.rules import parse_rules
from ..arguments import add_model_argument, operator, select_models
from ..database_command import DatabaseCommand
from ..progress import Progress


class Command(DatabaseCommand):
    """Prune tasks, payloads and streams that are older than their retention."""

    help = (
        "Deletes finished tasks, their payloads, and the streams of deleted tasks, by the models' "
        "django_simpletask3_retention. Keeps tasks on legal hold, and writes tombstones."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_model_argument(parser)
        parser.add_argument("--dry-run", action="store_true", help="Only counts; deletes nothing.")
        parser.add_argument(
            "--reason",
            default=REASON,
            help="The reason that tombstones name. Defaults to retention.",
        )
        parser.add_argument(
            "--batch-size", type=int, default=500, help="Tasks per transaction. Defaults to 500."
        )
        parser.add_argument(
            "--pause",
            type=float,
            default=0.05,
            metavar="SECONDS",
            help="Pause between batches. Defaults to 0.05.",
        )
        parser.add_argument("--json", action="store_true", help="Writes one JSON document.")

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
        if options["verbosity"] > 1 or not results:
            for root in table_models(models):
                if not parse_rules(root.django_simpletask3_retention):
                    self.stdout.write(f"{root._meta.label}: keeps everything")

    def _prune(self, models: Any, options: dict[str, Any]) -> list[PruneResult]:
        size, is_dry = options["batch_size"], options["dry_run"]
        progress = _progress_bar(models, size)
        pruned: dict[int, int] = {}

        def on_batch(result: PruneResult) -> None:
            pruned[id(result)] = result.pruned
            progress.show(sum(pruned.values()))
            time.sleep(0 if is_dry else options["pause"])

        prune_options = PruneOptions(size, options["reason"], is_dry, on_batch)
        with task_context(actor=operator()):
            results = list(prune(models, prune_options))
        progress.clear()
        return results


def _progress_bar(models: Any, size: int) -> Progress:
    """A bar for all tasks to prune; on a terminal only, since they have to be counted first."""
    if not sys.stderr.isatty():
        return Progress(sys.stderr, 0)
    return Progress(
        sys.stderr, sum(result.pruned for result in prune(models, PruneOptions(size, dry_run=True)))
    )


def _result_as_dict(result: PruneResult) -> dict[str, object]:
    return {**asdict(result), "rule": str(result.rule)}


def _summary(result: PruneResult, is_dry: bool) -> str:
    verb = "would be pruned" if is_dry else "pruned"
    text = f"{result.model} ({result.database}), {result.rule}: {result.pruned} {verb}"
    text += f", {result.on_hold} on hold" if result.on_hold else ""
    return text + (f", {result.protected} protected by a foreign key" if result.protected else "")
