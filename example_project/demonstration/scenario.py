"""What ``demo.py`` tells: tasks are handed in, their worker is killed, nothing is lost."""

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
from .environment import Failure
from .processes import Program, worker

LEASE = 3  # seconds: five minutes, the default, would be a long time to watch
PAUSE = 0.4  # seconds of rest after each picture of the slow sheet
PICTURES_BEFORE_KILL = 3  # pictures on the slow sheet when its worker is killed
PATIENCE = 45.0  # seconds; each act takes a few, on a machine that has nothing else to do


@dataclass
class Demonstration:
    """The acts of the demonstration, and what they leave for the next."""

    folder: Path
    began: float = field(default_factory=time.monotonic)
    tasks: list[Any] = field(default_factory=list)
    pictures: list[Any] = field(default_factory=list)
    slow_sheet: Any = None

    def print_step(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began:5.1f} s]  {text}", flush=True)

    def wait_until(self, is_so: Callable[[], Any], what: str, program: Program) -> None:
        """Wait for ``what``. Raises Failure when it does not come, or ``program`` ends."""
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            if program.is_over:
                raise Failure(f"{program.name} has ended:\n{program.log_tail()}")
            if time.monotonic() > deadline:
                words = program.log_tail()
                raise Failure(f"After {PATIENCE:.0f} s still no sign of {what}.\n{words}")
            time.sleep(0.02)

    def enqueue_first(self) -> None:
        """Everything that the first worker gets."""
        from . import samples

        self.pictures = samples.upload_pictures()
        self.slow_sheet = samples.enqueue_contact_sheet("All pictures", self.pictures, pause=PAUSE)
        imports = samples.enqueue_order_imports(
            "orders-2026-10.csv", "orders-2026-11-bad-lines.csv", "newsletter.csv"
        )
        thumbnails = [picture.thumbnails.get() for picture in self.pictures]
        self.tasks += [*thumbnails, self.slow_sheet, *imports]
        self.print_step(
            f"enqueued {len(thumbnails)} thumbnails (1 of a file that is cut off), 1 slow contact "
            f"sheet,\n           {len(imports)} files of orders (1 with bad lines, 1 that is none)"
        )

    def enqueue_more(self) -> None:
        """What comes while nobody works."""
        from . import samples

        sheet = samples.enqueue_contact_sheet("Sky and stone", self.pictures[3:6])
        imports = samples.enqueue_order_imports("orders-2026-12.csv")
        self.tasks += [sheet, *imports]
        self.print_step(
            "enqueued 1 contact sheet and 1 file of orders while there is no worker at all"
        )

    def kill_worker(self, program: Program) -> None:
        """Kill the worker in the middle of the slow sheet."""
        slow = self.slow_sheet
        self.wait_until(self._body_is_at_work, "the slow sheet half done", program)
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
            raise Failure(f"The worker was not killed in time: the sheet is {slow.status.name}.")

    def _body_is_at_work(self) -> bool:
        # The body writes a note after each picture: PLACED of them mean that it is inside.
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
        """Every task is final, and what it is to be told of is written."""
        from outbox.receivers import catch_up

        self.wait_until(self._all_are_final, "the end of every task", program)
        self.print_step(f"all {len(self.tasks)} tasks are final")
        code = program.stop()
        if code:
            raise Failure(f"{program.name} ended with {code}:\n{program.log_tail()}")
        self.print_step(f"{program.name} has stopped (SIGTERM, exit 0)")
        if written := catch_up():
            self.print_step(f"{written} notifications died with the worker and were written now")

    def _all_are_final(self) -> bool:
        for task in self.tasks:
            if not task.status.is_final:
                task.refresh_from_db()
        return all(task.status.is_final for task in self.tasks)

    def report(self) -> int:
        """Print what happened; the exit code."""
        from . import report, verification

        names = report.worker_names(self.tasks)
        print("", report.timelines(self.tasks, names), sep="\n")
        found = verification.find_problems(self.tasks, self.slow_sheet)
        print("Summary", report.pairs(self._summary(names)), "", sep="\n")
        for problem in found:
            print(f"FAILED: {problem}", file=sys.stderr)
        return 1 if found else 0

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
            ("notifications", f"{verification.notifications(self.tasks)} in the outbox"),
            ("seconds", f"{time.monotonic() - self.began:.1f}"),
        ]


def run() -> int:
    """Tell the whole story; the exit code. Everything that is started is stopped.

    Raises Failure when it cannot go on.
    """
    # Before Django and the package are asked for anything.
    os.environ["DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT"] = str(LEASE)
    os.environ["DJANGO_SIMPLETASK3_SHUTDOWN_GRACE"] = str(LEASE)
    code = _acts(Demonstration(Path(os.environ["EXAMPLE_VAR"])))
    if not code:
        _farewell()
    return code


def _acts(story: Demonstration) -> int:
    environment.clear(story.folder)
    environment.set_up()
    from django_simpletask3.context import task_context

    with ExitStack() as started:
        story.print_step(f"migrated {_database()}")
        story.print_step(
            f"Redis answers: {started.enter_context(environment.running_redis(story.folder))}"
        )
        first = started.enter_context(worker("worker 1", story.folder))
        story.print_step(f"started {first.name}, pid {first.pid}")
        started.enter_context(task_context(actor="demo"))
        story.enqueue_first()
        story.kill_worker(first)
        story.enqueue_more()
        second = started.enter_context(worker("worker 2", story.folder))
        story.print_step(
            f"started {second.name}, pid {second.pid}; the lost lease ends within {LEASE} s"
        )
        story.wait_for_recovery(second)
        story.wait_until_final(second)
        return story.report()


def _database() -> str:
    from django.db import connection

    name = connection.settings_dict["NAME"]
    shown = environment.display_path(Path(name)) if os.sep in str(name) else name
    return f"{connection.display_name} {shown}"


def _farewell() -> None:
    if not environment.is_our_database():
        print(
            "The same in the admin: make a user with manage.py createsuperuser, then make demo-web"
        )
        return
    print(
        "The same in the admin:  make demo-web\n"
        f"                        http://127.0.0.1:8000/admin/  user {environment.USER}, "
        f"password {environment.PASSWORD}"
    )
