"""``manage.py django-simpletask3-audit``: check rows against their event streams."""

from __future__ import annotations

import json
import sys
from argparse import SUPPRESS, ArgumentParser
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, astuple
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from ...audit.check import Finding, audit
from ...audit.export import export_streams
from ...audit.runs import TableCounts, recorded_audit
from ...audit.verify import Manifest, bounded_lines, verify_export
from ...context import task_context
from ...logs import printable
from ...models.queryset import rows_of
from ...models.registry import each_table
from ...models.task import SimpleTask
from ...monitoring.csv_export import lines
from ...monitoring.recovery_report import COLUMNS, KINDS, Recovery, RecoveryFilter, recoveries
from ...monitoring.scope import QueryScope
from ...states import EventKind
from ..arguments import add_model_argument, counted, operator, parse_time, select_models
from ..database_command import DatabaseCommand
from ..progress import Progress


class Command(DatabaseCommand):
    """Check rows against streams, list recoveries, export streams, verify an export."""

    help = (
        "Checks the row of every task against its events. Records the result, which the "
        "admin shows. Exits with status 1 if there are discrepancies."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        _add_scope_arguments(parser, default=None)
        parser.add_argument("--json", action="store_true", help="Writes one JSON document.")
        parser.add_argument(
            "--repair", action="store_true", help="Repairs rows whose events are intact."
        )
        parser.set_defaults(step=self._check)
        subparsers = parser.add_subparsers(title="subcommands", metavar="")
        self._add_recoveries(subparsers)
        self._add_export(subparsers)
        self._add_verify(subparsers)

    def _add_recoveries(self, subparsers: Any) -> None:
        listing = subparsers.add_parser(
            "recoveries", help="Lists recover, drop, release and reject events."
        )
        _add_scope_arguments(listing, default=SUPPRESS, until=True)
        listing.add_argument("--kind", action="append", choices=[str(kind) for kind in KINDS])
        listing.add_argument("--reason", default="", help="Lists only events with this reason.")
        listing.add_argument(
            "--worker", default="", help="Lists only events whose worker's name contains this text."
        )
        listing.add_argument("--csv", action="store_true", help="Writes comma-separated values.")
        listing.set_defaults(step=self._list_recoveries)

    def _add_export(self, subparsers: Any) -> None:
        export = subparsers.add_parser(
            "export", help="Writes event streams to a file, as JSON Lines."
        )
        _add_scope_arguments(export, default=SUPPRESS, until=True)
        export.add_argument(
            "--task", action="append", metavar="KEY", help="Exports only the task with this key."
        )
        export.add_argument("--output", type=Path, required=True, metavar="FILE")
        export.set_defaults(step=self._export)

    def _add_verify(self, subparsers: Any) -> None:
        verify = subparsers.add_parser(
            "verify", help="Verifies an exported file, without a database."
        )
        verify.add_argument("file", type=Path)
        verify.add_argument("--digest", help="The digest that the export displayed.")
        verify.set_defaults(step=self._verify)

    def handle(self, *args: Any, **options: Any) -> None:
        options["step"](options)

    def _check(self, options: dict[str, Any]) -> None:
        tables = list(each_table(select_models(options["model"])))
        total = 0 if options["since"] else sum(rows_of(*t).count() for t in tables)
        progress = Progress(sys.stderr, total)
        writer = _JsonWriter(self.stdout) if options["json"] else _TextWriter(self.stdout, progress)
        actor, since, repair = operator(), options["since"], options["repair"]
        with task_context(actor=actor), recorded_audit(since, actor) as record:
            for table in tables:
                counts = record.add_table(*table)
                for finding in audit(
                    *table,
                    since=since,
                    repair=repair,
                    on_tasks=partial(_add_tasks, counts, progress),
                    on_events=partial(_add_events, counts),
                ):
                    record.add_finding(counts, finding)
                    writer.write_finding(finding)
        progress.clear()
        writer.write_summary(progress.done)
        if writer.count:
            sys.exit(1)

    def _list_recoveries(self, options: dict[str, Any]) -> None:
        recovery_filter = RecoveryFilter(
            scope=QueryScope(select_models(options["model"])),
            since=options["since"],
            until=options["until"],
            kinds=[EventKind(kind) for kind in options["kind"] or KINDS],
            reason=options["reason"] or None,
            worker=options["worker"],
        )
        matches = recoveries(recovery_filter)
        if options["csv"]:
            for line in lines(COLUMNS, map(astuple, matches)):
                self.stdout.write(line, ending="")
        else:
            self._write_table(matches)

    def _write_table(self, matches: Iterator[Recovery]) -> None:
        counts: Counter[tuple[str, str]] = Counter()
        for recovery in matches:
            counts[recovery.kind, recovery.reason] += 1
            line = (
                f"{recovery.time:%Y-%m-%d %H:%M:%S}  {recovery.kind:<7}  "
                f"{recovery.reason or '-':<16}  {recovery.model} {recovery.task} "
                f"#{recovery.sequence} attempt {recovery.attempt}  "
                f"{recovery.worker or '-'}  {recovery.actor}"
            )
            self.stdout.write(printable(line.rstrip()))
        for (kind, reason), count in counts.most_common():
            self.stdout.write(printable(f"{count:>8}  {kind} {reason}".rstrip()))
        if not counts:
            self.stdout.write("Nothing was recovered, dropped, released or rejected.")

    def _export(self, options: dict[str, Any]) -> None:
        tables = list(each_table(select_models(options["model"])))
        if options["task"] and len(tables) != 1:
            raise CommandError("--task needs exactly one --model.")
        keys = [_parse_key(tables[0][0], text) for text in options["task"] or ()]
        try:
            with options["output"].open("x", encoding="ascii", newline="\n") as file:
                manifest = export_streams(
                    file, tables, since=options["since"], until=options["until"], keys=keys or None
                )
        except OSError as error:
            raise CommandError(f"--output {options['output']} cannot be written: {error}") from None
        self.stdout.write(_size(manifest))
        self.stdout.write(f"digest {manifest.digest}")
        self.stdout.write("Keep the digest elsewhere: verify --digest compares the file with it.")

    def _verify(self, options: dict[str, Any]) -> None:
        flaws = 0
        try:
            with options["file"].open(encoding="utf-8", newline="\n") as file:
                for result in verify_export(bounded_lines(file)):
                    if isinstance(result, Manifest):
                        flaws += self._check_manifest(result, options["digest"])
                    else:
                        flaws += 1
                        line = f"line {result.line}: {result.task} {result.detail}"
                        self.stdout.write(printable(line))
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{options['file']} cannot be read: {error}") from None
        if flaws:
            self.stdout.write("The file is not as it was exported.")
            sys.exit(1)

    def _check_manifest(self, manifest: Manifest, digest: str | None) -> int:
        self.stdout.write(_size(manifest))
        self.stdout.write(f"digest {manifest.digest}")
        if digest is None or digest == manifest.digest:
            return 0
        self.stdout.write(f"expected {digest}")
        return 1


def _add_tasks(counts: TableCounts, progress: Progress, tasks: int) -> None:
    counts.tasks += tasks
    progress.add(tasks)


def _add_events(counts: TableCounts, events: int) -> None:
    counts.events += events


def _size(manifest: Manifest) -> str:
    return f"{counted(manifest.streams, 'stream')}, {counted(manifest.events, 'event')}"


class _TextWriter:
    """Writes findings as text."""

    def __init__(self, stream: OutputWrapper, progress: Progress) -> None:
        self._stream, self._progress, self.count = stream, progress, 0

    def write_finding(self, finding: Finding) -> None:
        """Write one finding."""
        self.count += 1
        self._progress.clear()
        line = (
            f"{finding.model} {finding.task} ({finding.database}) #{finding.sequence} "
            f"{finding.problem}: {finding.detail}"
        )
        self._stream.write(printable(line))
        self._stream.write(f"    {'Repaired.' if finding.repaired else finding.advice}")

    def write_summary(self, tasks: int) -> None:
        """Write the number of tasks and findings."""
        outcome = counted(self.count, "finding") if self.count else "nothing is wrong"
        self._stream.write(f"{counted(tasks, 'task')} checked: {outcome}.")


class _JsonWriter:
    """Writes findings as one JSON document, incrementally."""

    def __init__(self, stream: OutputWrapper) -> None:
        self._stream, self.count = stream, 0
        self._stream.write('{"findings": [')

    def write_finding(self, finding: Finding) -> None:
        """Write one finding."""
        comma = "," if self.count else ""
        self.count += 1
        self._stream.write(comma + json.dumps({**asdict(finding), "advice": finding.advice}))

    def write_summary(self, tasks: int) -> None:
        """Write the number of tasks and findings."""
        self._stream.write(f'], "tasks": {tasks}, "count": {self.count}}}')


def _add_scope_arguments(parser: ArgumentParser, *, default: object, until: bool = False) -> None:
    add_model_argument(parser, default=default)
    parser.add_argument(
        "--since",
        type=parse_time,
        default=default,
        metavar="TIME",
        help="Includes only events from this time on.",
    )
    if until:
        parser.add_argument(
            "--until",
            type=parse_time,
            metavar="TIME",
            help="Includes only events before this time.",
        )


def _parse_key(root: type[SimpleTask], text: str) -> Any:
    try:
        return root._meta.pk.to_python(text)
    except Exception:
        raise CommandError(f"--task {text!r} is not a key of {root._meta.label}.") from None
