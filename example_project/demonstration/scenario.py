"""The scenario of ``demo.py``: enqueue tasks, kill their worker, and lose nothing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import environment
from .environment import DemoFailed
from .processes import Program, worker

LEASE = 3  # seconds; the default of five minutes would be too long to watch
PAUSE = 0.4  # seconds after each picture of the slow sheet
PICTURES_BEFORE_KILL = 3  # pictures on the slow sheet when its worker is killed
TIMEOUT = 45.0  # seconds for one step; on an idle machine each takes a few


@dataclass
class Scenario:
    """The steps of the scenario, and the tasks that they share."""

    folder: Path
    start_time: float = field(default_factory=time.monotonic)
    tasks: list[Any] = field(default_factory=list)
    pictures: list[Any] = field(default_factory=list)
    slow_sheet: Any = None

    def print_step(self, text: str) -> None:
        print(f"[{time.monotonic() - self.start_time:5.1f} s]  {text}", flush=True)

    def wait_until(self, condition: Callable[[], Any], description: str, program: Program) -> None:
        """Wait until ``condition()``; raise DemoFailed after TIMEOUT or if ``program`` ends."""
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            if program.has_exited:
                raise DemoFailed(f"{program.name} has ended:\n{program.log_tail()}")
            if time.monotonic() > deadline:
                log = program.log_tail()
                raise DemoFailed(f"Waited {TIMEOUT:.0f} s in vain for {description}.\n{log}")
            time.sleep(0.02)

    def enqueue_first(self) -> None:
        """Enqueue the tasks of the first worker."""
        from . import samples

        self.pictures = samples.upload_pictures()
        self.slow_sheet = samples.enqueue_contact_sheet("All pictures", self.pictures, pause=PAUSE)
        imports = samples.enqueue_order_imports(
            "orders-2026-10.csv", "orders-2026-11-bad-lines.csv", "newsletter.csv"
        )
        thumbnails = [picture.thumbnails.get() for picture in self.pictures]
        self.tasks += [*thumbnails, self.slow_sheet, *imports]
        self.print_step(
            f"enqueued {len(thumbnails)} thumbnails (1 of a truncated file), 1 slow contact "
            f"sheet\n           and {len(imports)} files of orders (1 with bad lines, "
            "1 with other columns)"
        )

    def enqueue_more(self) -> None:
        """Enqueue tasks while no worker runs."""
        from . import samples

        sheet = samples.enqueue_contact_sheet("Sky and stone", self.pictures[3:6])
        imports = samples.enqueue_order_imports("orders-2026-12.csv")
        self.tasks += [sheet, *imports]
        self.print_step("enqueued 1 contact sheet and 1 file of orders while no worker runs")

    def kill_worker(self, program: Program) -> None:
        """Kill the worker while it runs the slow sheet."""
        slow = self.slow_sheet
        self.wait_until(self._is_half_done, "the slow sheet to be half done", program)
        slow.refresh_from_db()
        self.print_step(
            f"contact sheet {slow.pk} is {slow.status.name} in {slow.worker}:\n"
            f"           {slow.events.last().reason}"
        )
        code = program.kill()
        self.print_step(
            f"SIGKILL to {program.name}, supervisor {program.pid} and its child (exit {code})"
        )
        slow.refresh_from_db()
        if slow.status.is_final:
            raise DemoFailed(f"The worker was not killed in time: the sheet is {slow.status.name}.")

    def _is_half_done(self) -> bool:
        # The task function writes a note after each picture.
        return bool(self.slow_sheet.events.filter(kind="note").count() >= PICTURES_BEFORE_KILL)

    def wait_for_recovery(self, program: Program) -> None:
        from .verification import is_recovered

        self.wait_until(
            lambda: is_recovered(self.slow_sheet), "the recovery of the slow sheet", program
        )
        event = self.slow_sheet.events.filter(kind="recover").last()
        self.print_step(
            f"contact sheet {self.slow_sheet.pk} is recovered ({event.reason}) and runs again"
        )

    def wait_until_final(self, program: Program) -> None:
        """Wait until every task is final, stop the worker and write missing notifications."""
        from outbox.receivers import catch_up

        self.wait_until(self._all_are_final, "all tasks to end", program)
        self.print_step(f"all {len(self.tasks)} tasks are final")
        code = program.stop()
        if code:
            raise DemoFailed(f"{program.name} ended with {code}:\n{program.log_tail()}")
        self.print_step(f"{program.name} has stopped (SIGTERM, exit 0)")
        if written := catch_up():
            self.print_step(f"wrote {written} notifications that the killed worker did not write")

    def _all_are_final(self) -> bool:
        for task in self.tasks:
            if not task.status.is_final:
                task.refresh_from_db()
        return all(task.status.is_final for task in self.tasks)

    def report(self) -> int:
        """Print the timelines and the summary; return the exit code."""
        from . import report, verification

        names = report.worker_names(self.tasks)
        print("", report.format_timelines(self.tasks, names), sep="\n")
        problems = verification.find_problems(self.tasks, self.slow_sheet)
        print("Summary", report.format_pairs(self._summary(names)), "", sep="\n")
        for problem in problems:
            print(f"FAILED: {problem}", file=sys.stderr)
        return 1 if problems else 0

    def _summary(self, names: dict[str, str]) -> list[tuple[str, str]]:
        from . import verification

        failed = [task for task in self.tasks if not task.success]
        recovered = [task for task in self.tasks if verification.is_recovered(task)]
        return [
            *((short, name) for name, short in names.items()),
            ("tasks", str(len(self.tasks))),
            ("succeeded", str(len(self.tasks) - len(failed))),
            ("failed", f"{len(failed)} ({', '.join(map(str, failed))})"),
            ("recovered", f"{len(recovered)} ({', '.join(map(str, recovered))})"),
            ("notifications", f"{verification.count_notifications(self.tasks)} in the outbox"),
            ("seconds", f"{time.monotonic() - self.start_time:.1f}"),
        ]


def run() -> int:
    """Run all steps and stop all processes; return the exit code.

    Raises DemoFailed if a step fails.
    """
    # Set before Django reads its settings.
    os.environ["DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT"] = str(LEASE)
    os.environ["DJANGO_SIMPLETASK3_SHUTDOWN_GRACE"] = str(LEASE)
    code = _run_steps(Scenario(Path(os.environ["EXAMPLE_VAR"])))
    if not code:
        _print_next_steps()
    return code


def _run_steps(scenario: Scenario) -> int:
    environment.clear(scenario.folder)
    environment.set_up()
    from django_simpletask3.context import task_context

    with ExitStack() as started:
        scenario.print_step(f"migrated {_database()}")
        scenario.print_step(
            f"Redis answers: {started.enter_context(environment.running_redis(scenario.folder))}"
        )
        first = started.enter_context(worker("worker 1", scenario.folder))
        scenario.print_step(f"started {first.name}, pid {first.pid}")
        started.enter_context(task_context(actor="demo"))
        scenario.enqueue_first()
        scenario.kill_worker(first)
        scenario.enqueue_more()
        second = started.enter_context(worker("worker 2", scenario.folder))
        scenario.print_step(
            f"started {second.name}, pid {second.pid}; the lost lease ends within {LEASE} s"
        )
        scenario.wait_for_recovery(second)
        scenario.wait_until_final(second)
        return scenario.report()


def _database() -> str:
    from django.db import connection

    name = connection.settings_dict["NAME"]
    shown = environment.display_path(Path(name)) if os.sep in str(name) else name
    return f"{connection.display_name} {shown}"


def _print_next_steps() -> None:
    if not environment.is_demo_database():
        print("To see it in the admin: run manage.py createsuperuser, then make demo-web")
        return
    print(
        "See it in the admin:  make demo-web\n"
        f"                      http://127.0.0.1:8000/admin/  user {environment.USER}, "
        f"password {environment.PASSWORD}"
    )
