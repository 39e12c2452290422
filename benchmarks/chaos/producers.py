"""A process that creates tasks faster than workers run them, and pauses when too many wait.

It writes each saved task to the execution log, after the commit.
"""

import random
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections, models, transaction
from django.utils import timezone
from simqcore import SimQ

from benchmarks.chaos import execution_log, tasks
from benchmarks.chaos.functions import CALLED
from benchmarks.chaos.models import MODELS, Call, ChaosTask, Effect, Job, Parcel, Part
from benchmarks.chaos.storm_schedules import OWN
from django_simpletask3.conf.options import options
from django_simpletask3.context import task_context
from django_simpletask3.contrib.tasks.models import FunctionTask
from django_simpletask3.db import clock
from django_simpletask3.dependencies import chain, group
from django_simpletask3.exceptions import SimpleTaskError
from django_simpletask3.schedules import operators
from django_simpletask3.schedules.firing import run_now
from django_simpletask3.schedules.tables import Schedule
from django_simpletask3.schedules.targets import find_target

#: Producers pause above this number of unfinished tasks, so that the drain is short.
BACKLOG = 600
CHECK_INTERVAL = 0.5
SLOW_SECONDS = 2.0
REMEMBERED_TASKS = 500  # how many of its latest tasks a producer remembers


class _RolledBack(Exception):
    """The transaction of a caller is rolled back."""


class Producer:
    """Run random actions until SIGTERM."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.is_stopping = False
        self.recent_tasks: list[ChaosTask] = []
        self.recent_calls: list[str] = []
        client = redis.Redis.from_url(
            settings.DJANGO_SIMPLETASK3_SIMQ_REDIS_URL, socket_timeout=1.5, socket_connect_timeout=1
        )
        self.stock = SimQ(client, prefix=settings.DJANGO_SIMPLETASK3_SIMQ_PREFIX)
        self.actions: list[tuple[Callable[[], Any], int]] = [
            (self.save, 40),
            (self.bulk, 25),
            (self.bulk_parcels, 10),
            (self.bulk_calls, 6),
            (self.replace, 10),
            (self.groups, 5),
            (self.after, 4),
            (self.call, 40),
            (self.call_again, 4),
            (self.push_as_version_0_1, 10),
            (self.insert_without_event, 4),
            (self.save_again, 4),
            (self.reset, 8),
            (self.restart, 2),
            (self.cancel, 6),
            (self.delete, 1),
            (self.operate, 1),
        ]

    def run(self) -> None:
        checked_at = 0.0
        while not self.is_stopping:
            if time.monotonic() - checked_at > CHECK_INTERVAL:
                self.run_guarded(self.wait_for_room)
                checked_at = time.monotonic()
            action = self.random.choices(*zip(*self.actions, strict=True))[0]
            self.run_guarded(action)
            time.sleep(self.random.uniform(0.0, 0.05))

    def run_guarded(self, action: Callable[[], Any]) -> None:
        """Run an action; log the errors of an unavailable server, and report any other."""
        began = time.time()
        try:
            with task_context(actor="producer"):
                action()
        except (SimpleTaskError, DatabaseError, InterfaceError, redis.RedisError) as error:
            execution_log.write("error", action.__name__, type(error).__name__)
            connections.close_all()
        except Exception as error:
            traceback.print_exc()
            execution_log.write("unforeseen", action.__name__, type(error).__name__)
            connections.close_all()
        seconds = time.time() - began
        if seconds > SLOW_SECONDS and action != self.wait_for_room:
            execution_log.write("slow", action.__name__, f"{seconds:.2f}")

    def wait_for_room(self) -> None:
        """Wait until the workers have caught up."""
        while not self.is_stopping and count_unfinished() > BACKLOG:
            time.sleep(0.2)

    def save(self) -> None:
        self.save_and_log([self.job() if self.random.random() < 0.8 else self.parcel()])

    def save_and_log(self, tasks: list[Any]) -> None:
        for task in tasks:
            task.save()
            self.log_saved(task)

    def log_saved(self, task: ChaosTask) -> None:
        execution_log.write("saved", task._meta.model_name, task.pk)
        self.recent_tasks = [*self.recent_tasks[-REMEMBERED_TASKS:], task]

    def bulk(self) -> None:
        jobs = [self.job() for _ in range(self.random.randint(2, 120))]
        for task in Job.objects.bulk_enqueue(jobs, batch_size=40):
            self.log_saved(task)

    def bulk_parcels(self) -> None:
        parcels = [self.parcel() for _ in range(self.random.randint(2, 40))]
        Parcel.objects.bulk_enqueue(parcels)
        for parcel in parcels:
            self.log_saved(parcel)

    def bulk_calls(self) -> None:
        """Enqueue calls, of which some are canceled, reset or deleted while they wait in line."""
        calls = [
            Call(**self.columns(), line=self.random.randrange(3))
            for _ in range(self.random.randint(2, 20))
        ]
        for call in Call.objects.bulk_enqueue(calls):
            self.log_saved(call)

    def replace(self) -> None:
        """Enqueue parcels that replace others, in this process and in others."""
        for _ in range(3):
            self.log_saved(Parcel.objects.enqueue(**self.columns(), address=self.address()))

    def groups(self) -> None:
        """Enqueue a group and what waits for it, or a chain."""
        parts = [self.part() for _ in range(self.random.randint(0, 10))]
        later = [self.part() for _ in range(self.random.randint(1, 3))]
        on_failure = self.random.choice(["cancel", "run"])
        to_enqueue: Any = group(*parts).then(*later, on_failure=on_failure)
        if self.random.random() < 0.4:
            to_enqueue = chain(*parts[:4], self.part(), on_failure=on_failure)
        for task in to_enqueue.enqueue():
            self.log_saved(task)

    def after(self) -> None:
        """Save a part that waits for parts that may run, or have ended."""
        parts = [task for task in self.recent_tasks if isinstance(task, Part)]
        chosen = self.random.sample(parts, min(3, len(parts)))
        part = self.part().after(*chosen, on_failure=self.random.choice(["cancel", "run"]))
        self.save_and_log([part])

    def part(self) -> Part:
        return Part(**self.columns(), splits=self.random.random() < 0.05)

    def call(self) -> None:
        """Call a function in transactions, of which some are rolled back."""
        function = self.random.choice(tasks.FUNCTIONS)
        for _ in range(self.random.randint(1, 10)):
            arguments = self.arguments(function)
            with suppress(_RolledBack), transaction.atomic():
                key = function.enqueue(**arguments).id
                Effect._default_manager.create(task=key, step=CALLED)
                if self.random.random() < 0.1:
                    raise _RolledBack
                transaction.on_commit(partial(execution_log.write, CALLED, key))
                self.recent_calls = [*self.recent_calls[-REMEMBERED_TASKS:], key]

    def arguments(self, function: Any) -> dict[str, Any]:
        """Return what a call does; a few numbers, so that keys are taken."""
        number, endings = self.random.randint(1, 1_000_000), ["", "raise", "cancel"]
        if function in (tasks.join, tasks.replace):
            number = self.random.randint(1, 20)
        if function is tasks.try_again:
            endings += ["retry"]
        if function is not tasks.sleep:
            endings += ["snooze"]
        ending = self.random.choice(endings) if self.random.random() < 0.3 else ""
        arguments = {"number": number, "seconds": self.seconds(), "ending": ending}
        if function is tasks.call:
            arguments["line"] = self.random.randrange(3)
        elif function not in (tasks.meter, tasks.sleep):
            arguments["has_steps"] = self.random.random() < 0.1
        return arguments

    def call_again(self) -> None:
        """Read the result of a call, which may be rolled back; cancel it, or reset it."""
        for key in self.random.sample(self.recent_calls, min(2, len(self.recent_calls))):
            with suppress(FunctionTask.DoesNotExist):
                row = FunctionTask._base_manager.get(result_id=key)
                tasks.backend.get_result(key)
                row.cancel("not needed") if self.random.random() < 0.5 else row.reset("again")

    def push_as_version_0_1(self) -> None:
        """Push messages for existing rows as version 0.1 does."""
        jobs = [task for task in self.recent_tasks if isinstance(task, Job)]
        for job in self.random.sample(jobs, min(3, len(jobs))):
            self.push(job)

    def push(self, job: ChaosTask) -> None:
        data = {"app_label": "chaos", "model_name": "job", "id": job.pk}
        self.stock.lpush(job.get_event_channel(), data, id=job.get_task_id())

    def insert_without_event(self) -> None:
        """Insert a row without an event, as version 0.1 does, and push its message."""
        job = self.job()
        models.Model.save_base(job, force_insert=True)
        execution_log.write("saved", "job", job.pk)
        self.push(job)

    def save_again(self) -> None:
        for task in self.random.sample(self.recent_tasks, min(3, len(self.recent_tasks))):
            task.save(update_fields=["fails"])

    def reset(self) -> None:
        for task in self.random.sample(self.recent_tasks, min(2, len(self.recent_tasks))):
            task.reset("again", dependents=self.random.random() < 0.3)

    def restart(self) -> None:
        """Reset a task that forgets its checkpoints."""
        for task in self.random.sample(self.recent_tasks, min(1, len(self.recent_tasks))):
            task.reset("from the beginning", restart=True)

    def cancel(self) -> None:
        for task in self.recent_tasks[-2:]:
            task.cancel("not needed")

    def delete(self) -> None:
        if self.recent_tasks:
            self.recent_tasks.pop(self.random.randrange(len(self.recent_tasks))).delete()

    def operate(self) -> None:
        """Do what operators do with a schedule: run it now, disable, enable and retime it."""
        row = Schedule.objects.get(key=OWN)
        if self.random.random() < 0.5:
            target: Any = find_target(row.target)
            run_now(row, target, {}, clock.utc_now("default"), "default")
        elif not row.enabled:
            operators.enable([row.pk], "default")
        elif self.random.random() < 0.5:
            operators.disable([row.pk], "default", "not needed")
        else:
            row.interval = timedelta(seconds=self.random.randint(1, 5))
            operators.save_own(row, "default")

    def job(self) -> Job:
        return Job(**self.columns())

    def parcel(self) -> Parcel:
        """Return a new parcel; some expire while the workers are busy, killed, or cut off."""
        parcel = Parcel(**self.columns())
        if self.random.random() < 0.3:
            lifetime = timedelta(seconds=self.random.uniform(0.05, 3.0))
            parcel.expires_at = timezone.now() + lifetime
        if self.random.random() < 0.1:
            parcel.address = self.address()
        return parcel

    def address(self) -> str:
        """Return one of the few addresses at which one parcel at a time is delivered."""
        return f"{self.random.randint(1, 20)} Main Street"

    def columns(self) -> dict[str, Any]:
        """Return what the task function of a new task does."""
        [request] = self.random.choices(["", "snooze", "retry", "cancel"], [90, 4, 4, 2])
        [priority] = self.random.choices([0, -50, 50], [80, 10, 10])
        has_steps = self.random.random() < 0.1
        return {
            # Long enough for a note of the progress, now and then.
            "seconds": 1.2 if has_steps and self.random.random() < 0.1 else self.seconds(),
            "fails": self.random.random() < 0.05,
            "request": request,
            "has_steps": has_steps,
            "priority": priority,
        }

    def seconds(self) -> float:
        """Return a run time: mostly a few milliseconds, rarely longer than the lease."""
        draw = self.random.random()
        if draw < 0.001:
            return options.simq_running_timeout * 1.5
        return self.random.uniform(0.2, 1.0) if draw < 0.02 else self.random.uniform(0.0, 0.005)


def count_unfinished() -> int:
    """Return the number of tasks that are not final."""
    return sum(
        model.objects.filter(check_at__isnull=False).count() + model.objects.blocked().count()
        for model in MODELS.values()
    )


def main(seed: int) -> None:
    """Run a producer until SIGTERM."""
    producer = Producer(seed)

    def stop(*_: Any) -> None:
        producer.is_stopping = True

    signal.signal(signal.SIGTERM, stop)
    producer.run()
    connections.close_all()
