"""``manage.py django-simpletask3-schedules``: list schedules, their last and next ticks."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error

from ...db import clock
from ...db.errors import error_text
from ...models.registry import task_databases
from ...monitoring.schedules import MAX_ROWS, ScheduleReport, report_schedules
from ...schedules.tables import schedules_of
from ..columns import align

_MAX_TICKS = 1000


def _number(text: str) -> int:
    if (
        not (text.isascii() and text.isdecimal() and len(text) <= 4)
        or not 1 <= int(text) <= _MAX_TICKS
    ):
        raise ArgumentTypeError(f"{text!r} is no number from 1 to {_MAX_TICKS}")
    return int(text)


class Command(BaseCommand):
    """List the schedules of all databases, with what they did last and when they are due next."""

    help = "Lists schedules, what became of their last ticks, and their next ones."
    # Also with a schedule that is wrong: the list says which.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Writes one JSON document.")
        parser.add_argument(
            "--next",
            type=_number,
            default=1,
            metavar="NUMBER",
            help="How many of the next ticks of each schedule are shown; defaults to 1.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        by_database = [self._read(using, options["next"]) for using in task_databases()]
        reports = [report for reports in by_database for report in reports or ()]
        if options["json"]:
            self.stdout.write(json.dumps([asdict(report) for report in reports], indent=2))
        elif reports or None in by_database:
            self.stdout.write("\n".join(_lines(reports, options["next"])))
        else:
            self.stdout.write("No schedules. A node writes those of its code when it starts.")
        if None in by_database:
            sys.exit(1)

    def _read(self, using: str, ticks: int) -> list[ScheduleReport] | None:
        """The schedules of a database; None if it does not answer."""
        try:
            clock.calibrate(using)
            reports = report_schedules(using, ticks)
            if len(reports) == MAX_ROWS and (count := schedules_of(using).count()) > MAX_ROWS:
                self.stderr.write(f"Only {MAX_ROWS} of {count} schedules in {using!r} are listed.")
        except Error as error:
            self.stderr.write(f"The database {using!r} does not answer: {error_text(error)}")
            return None
        return reports


def _lines(reports: list[ScheduleReport], number: int) -> Iterator[str]:
    header = ["Schedule", "database", "when", "zone", "state", "last tick", "outcome", "next tick"]
    yield from align(header, map(_cells, reports))
    for report in reports if number > 1 else ():
        yield from ("", report.schedule, *(f"  {tick}" for tick in report.next))


def _cells(report: ScheduleReport) -> list[object]:
    last = (report.last.tick, report.last.outcome) if report.last else (None, None)
    following = report.next[0] if report.next else None
    place = [report.schedule, report.database, report.when, report.zone or "-"]
    return [*place, _state(report), *last, following]


def _state(report: ScheduleReport) -> str:
    if report.error:
        return report.error
    if not report.enabled:
        return f"disabled: {report.reason}" if report.reason else "disabled"
    if report.is_orphaned:
        return "not in the code"
    return "enabled" if report.overdue is None else f"overdue for {report.overdue:.0f} s"
