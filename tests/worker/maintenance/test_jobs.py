"""Maintenance jobs: run at their intervals by any living process, with care after an outage."""

import math
import threading
import time
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from django_simpletask3 import control
from django_simpletask3.db import clock
from django_simpletask3.queue import get_queue
from django_simpletask3.recovery import due_check
from django_simpletask3.schedules.tables import Schedule, new_change_mark
from django_simpletask3.states import EventKind
from django_simpletask3.transitions.writer import apply
from django_simpletask3.worker.maintenance.claim_monitor import ClaimMonitor
from django_simpletask3.worker.maintenance.due_hints import DueHints
from django_simpletask3.worker.maintenance.jobs import (
    MaintenanceJob,
    MaintenanceLoop,
    database_jobs,
    redis_jobs,
    shared_schedule,
)
from django_simpletask3.worker.maintenance.lease_monitor import CHECK, LeaseMonitor, OutageGrace
from django_simpletask3.worker.maintenance.pacing import SharedSchedule
from django_simpletask3.worker.maintenance.snapshot import SharedSnapshot, Snapshot
from tests.eventually import eventually
from tests.testapp.models import Invoice

LONG = 3600.0


class Record(list[str]):
    def writing(self, word: str, moved: int = 0) -> Callable[[], int]:
        def work() -> int:
            self.append(word)
            return moved

        return work


def test_one_of_two_processes_runs_a_job_that_is_due() -> None:
    shared, done = SharedSchedule(["sweep"]), Record()
    here = MaintenanceLoop({"sweep": MaintenanceJob(done.writing("here"), LONG)}, shared)
    there = MaintenanceLoop({"sweep": MaintenanceJob(done.writing("there"), LONG)}, shared)

    rests = [process.step() for process in (here, there, here)]

    assert done == ["here"]
    assert all(0 < rest <= 120 for rest in rests)  # never slower than the interval


def test_a_process_that_stands_still_in_a_pass_is_stepped_over() -> None:
    shared, done, stuck = SharedSchedule(["sweep"]), Record(), threading.Event()
    frozen = MaintenanceLoop({"sweep": MaintenanceJob(lambda: int(stuck.wait(60)), 0.1)}, shared)
    other = MaintenanceLoop({"sweep": MaintenanceJob(done.writing("other"), 0.1)}, shared)
    thread = threading.Thread(target=frozen.step, daemon=True)
    thread.start()

    eventually(lambda: other.step() >= 0 and bool(done))

    stuck.set()
    thread.join(timeout=10)
    assert done[0] == "other"


def test_a_job_that_fails_is_reported_waits_and_stops_no_other() -> None:
    shared, done = SharedSchedule(["broken", "sound"]), Record()

    def broken() -> int:
        raise RuntimeError("no")

    loop = MaintenanceLoop(
        {
            "broken": MaintenanceJob(broken, 0.01),
            "sound": MaintenanceJob(done.writing("sound", moved=7), 0.01),
        },
        shared,
    )

    eventually(lambda: loop.step() >= 0 and shared.read()["broken"].failures >= 3)

    report = shared.read()
    assert shared.seconds_until("broken", 0.5) > shared.seconds_until("sound", 0.5) + 1
    assert (report["broken"].ended, report["sound"].count, report["sound"].failures) == (0.0, 7, 0)
    assert 0 < report["sound"].began <= report["sound"].ended
    assert done


def test_every_job_of_a_node_has_its_place() -> None:
    assert set(shared_schedule().read()) == {
        "recover_expired_leases",
        "expire_tasks",
        "recover_dead_local_workers",
        "detect_redis_reset",
        "push_overdue",
        "requeue_expired_claims",
        "adopt_foreign_claims",
        "release_deliveries",
        "serve_dependents",
        "write_schedules",
        "fire_schedules",
        "prune",
        "count_missed_ends",
        "delete_unused_groups",
        "delete_old_ticks",
    }


class Clock:
    """A database's clock and the steady clock, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time, self.steady = clock.now("default"), clock.steady()
        self.jump: clock.Jump | None = None
        monkeypatch.setattr(clock, "now", lambda using: self.time)
        monkeypatch.setattr(clock, "steady", lambda: self.steady)
        monkeypatch.setattr(clock, "last_jump", lambda using: self.jump)

    def go(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.steady += seconds

    def leap(self, seconds: float) -> None:
        """The database's clock alone is set, and this process notices."""
        self.time += timedelta(seconds=seconds)
        self.jump = clock.Jump(self.steady, seconds)


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def looks(grace: OutageGrace, hand: Clock, *gaps: float) -> list[bool]:
    found = []
    for gap in gaps:
        hand.go(gap)
        found.append(grace.judge_until("default") == hand.time)
    return found


def test_leases_are_judged_while_checks_follow_one_another(hand: Clock) -> None:
    assert looks(OutageGrace(), hand, 0, 1, 1, 4.9) == [True] * 4


def test_after_an_outage_others_have_time_to_renew(hand: Clock) -> None:
    assert looks(OutageGrace(), hand, 0, 60, 2, 2, 1.1) == [True, False, False, False, True]


def test_a_database_that_is_always_slow_is_judged_all_the_same(hand: Clock) -> None:
    assert looks(OutageGrace(), hand, 0, 6, 6, 6) == [True, False, True, False]


def test_a_second_outage_soon_after_the_first_gives_time_again(hand: Clock) -> None:
    assert looks(OutageGrace(), hand, 0, 9, 5, 1, 9, 5) == [True, False, True, True, False, True]


def test_a_process_that_begins_in_an_outage_gives_time_to_renew_too(hand: Clock) -> None:
    grace = OutageGrace()

    assert looks(grace, hand, 60, 2, 2, 1.1) == [False, False, False, True]


def test_each_database_is_seen_for_itself(hand: Clock) -> None:
    grace = OutageGrace()
    grace.judge_until("default")
    hand.go(4)
    grace.judge_until("other")
    hand.go(4)

    found: dict[str, Any] = {using: grace.judge_until(using) for using in ("default", "other")}

    assert found == {"default": None, "other": hand.time}


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_after_a_jump_of_the_clock_others_have_time_for_one_full_renewal(
    hand: Clock, seconds: float
) -> None:
    grace = OutageGrace()
    before = looks(grace, hand, 0)
    hand.leap(seconds)

    after = looks(grace, hand, 0, *[1] * 14, 1)

    assert (before, after) == ([True], [False] * 15 + [True])


def test_a_lease_that_was_not_renewed_after_a_jump_is_judged_when_the_clock_jumps_again(
    hand: Clock,
) -> None:
    grace = OutageGrace()
    looks(grace, hand, 0)
    hand.leap(3600)
    looks(grace, hand, 0, *[1] * 10)
    had_ended = hand.time - timedelta(seconds=10)  # as the first jump found it
    hand.leap(3600)
    none = [grace.judge_until("default")]
    looks(grace, hand, 4, 1)

    assert (none, grace.judge_until("default")) == ([None], had_ended)


def test_after_a_jump_back_a_lease_that_was_renewed_since_has_its_own_time(hand: Clock) -> None:
    grace = OutageGrace()
    looks(grace, hand, 0)
    hand.leap(3600)
    looks(grace, hand, 0, *[1] * 15)
    hand.leap(-3600)
    looks(grace, hand, 0)
    renewed = hand.time
    hand.leap(1800)
    looks(grace, hand, 0, *[1] * 14)

    until = grace.judge_until("default")

    assert until is None or until <= renewed


def test_a_clock_that_jumps_again_and_again_is_judged_after_the_length_of_a_lease(
    hand: Clock, settings: Any
) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT = 30
    grace = OutageGrace()
    found = []
    for step in range(60):
        hand.leap(3600 if step % 2 else -3600)
        found += looks(grace, hand, 1)

    assert 30 <= found.index(True) <= 46


def test_a_job_that_was_called_is_done_at_once_by_any_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    shared, done = SharedSchedule(["sweep"], processes=2), Record()
    loop = MaintenanceLoop(
        {"sweep": MaintenanceJob(done.writing("swept"), LONG, idle_for=lambda: LONG)}, shared
    )
    loop.step()

    rest = loop.step()
    now[0] += 1.0
    shared.trigger("sweep")
    loop.step()

    # Another process that waits is not woken: it checks whether the job was triggered.
    assert (done, rest <= 0.3) == (["swept", "swept"], True)


def test_jobs_that_trigger_each_other_rest_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check triggers a push, and a push that found tasks triggers a check."""
    now, counts = [1000.0], {"check": 0, "push": 0}
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    shared = SharedSchedule(["check", "push"])

    def work(name: str, other: str) -> int:
        counts[name] += 1
        shared.trigger(other)
        return 1

    jobs = {
        "check": MaintenanceJob(lambda: work("check", "push"), LONG),
        "push": MaintenanceJob(lambda: work("push", "check"), LONG),
    }
    loop = MaintenanceLoop(jobs, shared)
    pauses = []

    for _ in range(1000):
        pauses.append(loop.step())
        now[0] += 0.01

    assert all(38 <= count <= 42 for count in counts.values())  # in ten seconds
    assert max(pauses) <= 0.31


def test_a_process_is_called_when_it_triggers_a_job() -> None:
    shared, called = SharedSchedule(["sweep"]), threading.Event()
    shared.call_when_triggered(called.set)
    shared.begin("sweep")

    shared.trigger("sweep")

    assert called.is_set()


def test_an_object_that_is_called_is_not_kept_alive() -> None:
    shared, called = SharedSchedule(["sweep"]), threading.Event()
    shared.call_when_triggered(called.set)
    reference = weakref.ref(called)

    del called
    shared.trigger("sweep")

    assert reference() is None


@pytest.mark.parametrize(("processes", "looks_rarely"), [(1, True), (2, False)])
def test_the_only_process_of_a_node_looks_less_often(processes: int, looks_rarely: bool) -> None:
    shared = SharedSchedule(["sweep"], processes)
    loop = MaintenanceLoop({"sweep": MaintenanceJob(lambda: 0, LONG)}, shared)
    loop.step()

    rest = loop.step()

    assert (rest > 0.5) == looks_rarely


def test_a_job_that_is_almost_due_runs_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    shared, done = SharedSchedule(["first", "second"]), Record()
    jobs = {
        "first": MaintenanceJob(done.writing("first"), 4.5),
        "second": MaintenanceJob(done.writing("second"), 5.0, early=0.6),
    }
    loop = MaintenanceLoop(jobs, shared)
    for _ in range(3):
        loop.step()
        now[0] += 4.5

    assert done == ["first", "second"] * 3


def test_jobs_that_are_not_triggered_are_looked_at_less_often() -> None:
    shared = SharedSchedule(["prune"])
    jobs = {"prune": MaintenanceJob(lambda: 0, 600.0, follows_setting=False)}

    assert MaintenanceLoop(jobs, shared, max_pause=10.0).step() >= 10.0


def test_a_job_that_failed_rests_however_often_it_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, tries = [1000.0], 0
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    shared = SharedSchedule(["job"])

    for _ in range(60):
        shared.trigger("job")
        if shared.seconds_until("job", LONG) <= 0:
            tries += 1
            shared.begin("job")
            shared.fail("job")
        now[0] += 1.0

    assert tries == 12  # in a minute: every five seconds


def test_a_check_that_fails_ends_the_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)
    shared = SharedSchedule(["look"])
    shared.begin("look")
    shared.end("look", 0, idle_for=4.0)

    calm = shared.seconds_until("look", 0.1)
    shared.begin("look")
    shared.fail("look")

    assert (calm, shared.seconds_until("look", 0.1)) == (4.0, pytest.approx(0.2))


@pytest.mark.parametrize("interval", [0.5, 60.0])
def test_no_job_is_idle_for_longer_than_the_interval_of_recovery(
    interval: float, settings: Any
) -> None:
    settings.DJANGO_SIMPLETASK3_SIMQ_TIMEOUT_TASK_RECOVERY_INTERVAL = interval
    shared, done = SharedSchedule(["look"]), Record()

    MaintenanceLoop(
        {"look": MaintenanceJob(done.writing("looked"), 0.1, idle_for=lambda: LONG)}, shared
    ).step()

    assert 0 < shared.seconds_until("look", 0.1) <= interval


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Record:
    """Records each query for held and for waiting tasks."""
    asked = Record()
    for name in ("recover_dead_local_workers", "push_overdue"):
        write = asked.writing(name)
        monkeypatch.setattr(
            f"django_simpletask3.recovery.service.{name}", lambda *_, write=write: write()
        )
    return asked


def look_after(snapshot: SharedSnapshot) -> None:
    LeaseMonitor(shared_schedule(), snapshot).recover_local()
    redis_jobs(shared_schedule(), snapshot)["push_overdue"].work()


@pytest.mark.parametrize(
    ("age", "runs", "waits", "asks"),
    [
        pytest.param(0.0, False, False, [], id="nothing is there"),
        pytest.param(0.0, True, False, ["recover_dead_local_workers"], id="something runs"),
        pytest.param(0.0, False, True, ["push_overdue"], id="something waits"),
        pytest.param(
            6.0,
            False,
            False,
            ["recover_dead_local_workers", "push_overdue"],
            id="nothing was there",
        ),
    ],
)
def test_only_a_fresh_look_proves_that_nothing_is_there(
    asked: Record, age: float, runs: bool, waits: bool, asks: list[str]
) -> None:
    snapshot = SharedSnapshot()
    snapshot.publish(
        Snapshot(time.monotonic() - age, has_running=runs, has_waiting=waits, has_commands=False)
    )

    look_after(snapshot)

    assert asked == asks


def test_before_the_first_check_everything_may_be_there(asked: Record) -> None:
    look_after(SharedSnapshot())

    assert asked == ["recover_dead_local_workers", "push_overdue"]


@pytest.mark.django_db(databases="__all__")
def test_a_check_of_idle_tables_is_one_statement_and_reads_the_commands_too(
    django_assert_num_queries: Any,
) -> None:
    shared, snapshot = shared_schedule(), SharedSnapshot()
    watch = LeaseMonitor(shared, snapshot)
    watch.check()

    with django_assert_num_queries(1):
        watch.check()

    seen = snapshot.latest()
    assert (seen.has_running, seen.has_waiting, seen.has_commands) == (False, False, False)
    assert seen.schedules != 0


@pytest.mark.django_db(databases="__all__")
def test_a_thousand_schedules_are_part_of_that_statement_and_a_change_is_seen(
    django_assert_num_queries: Any,
) -> None:
    now, shared, snapshot = clock.utc_now("default"), shared_schedule(), SharedSnapshot()
    columns = {"target": "testapp.Invoice", "active_since": now, "cron": "0 6 * * *"}
    Schedule.objects.bulk_create(
        Schedule(key=f"s{number}", change_mark=new_change_mark(), **columns)
        for number in range(1000)
    )
    watch, seen = LeaseMonitor(shared, snapshot), []
    watch.check()

    for _ in range(2):
        with django_assert_num_queries(1):
            watch.check()
        seen.append(snapshot.latest().schedules)
    assert watch.idle_for() > 4
    Schedule.objects.filter(key="s7").update(change_mark=new_change_mark())
    watch.check()

    assert seen[0] == seen[1] != snapshot.latest().schedules != 0
    assert 4.0 < watch.idle_for() < 5.0


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize("is_running", [False, True], ids=["due", "running"])
def test_a_task_that_is_due_or_runs_ends_the_idle_time(redis_url: str, is_running: bool) -> None:
    watch = LeaseMonitor(shared_schedule(), SharedSnapshot())
    task = Invoice.objects.create(run_after=None if is_running else 600)
    if is_running:
        apply(task, EventKind.START, worker="w", values={"check_at": clock.after("default", 60)})
    else:
        Invoice.objects.update(run_after=clock.after("default", -60))

    watch.check()

    assert watch.idle_for() == 0.0


@pytest.mark.django_db(databases="__all__")
def test_tasks_that_wait_for_a_later_time_do_not_end_the_idle_time(redis_url: str) -> None:
    snapshot, hints = SharedSnapshot(), DueHints()
    watch = LeaseMonitor(shared_schedule(), snapshot, hints)
    Invoice.objects.create(run_after=clock.after("default", 3600))

    watch.check()

    assert watch.idle_for() > 4.0
    assert hints.seconds_until_next() == math.inf
    assert snapshot.latest().has_waiting


@pytest.mark.django_db(databases="__all__")
def test_a_task_that_is_due_before_the_next_check_moves_it(redis_url: str) -> None:
    hints = DueHints()
    watch = LeaseMonitor(shared_schedule(), SharedSnapshot(), hints)
    began = time.monotonic()
    Invoice.objects.create(run_after=clock.after("default", 3))

    watch.check()

    assert watch.idle_for() > 4.0
    hint = hints.seconds_until_next()
    assert hint < 3.5
    assert hint + (time.monotonic() - began) > 2.9


def test_a_hint_has_a_job_run_while_it_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    shared, done, hints = SharedSchedule(["look"]), Record(), DueHints()

    def look() -> int:
        hints.forget_past()
        return done.writing(f"{now[0]:.1f}")()

    job = MaintenanceJob(
        look, 1.0, idle_for=lambda: 4.0, needed_in=hints.seconds_until_next, follows_setting=False
    )
    loop = MaintenanceLoop({"look": job}, shared)
    loop.step()
    hints.add([2.5])

    for _ in range(100):
        now[0] += 0.1
        loop.step()

    assert done[0] == "1000.0"
    assert [float(moment) - 1000.0 for moment in done[1:]] == pytest.approx([2.5, 6.5], abs=0.2)


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize("future_tasks", [0, 300])
def test_an_idle_node_checks_no_more_often_for_tasks_of_a_later_time(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, future_tasks: int
) -> None:
    times = [clock.after("default", 600 + number) for number in range(future_tasks)]
    Invoice.objects.bulk_enqueue([{"run_after": moment} for moment in times])
    now, hints = [1000.0], DueHints()
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    shared, snapshot = shared_schedule(), SharedSnapshot()
    loop = MaintenanceLoop({CHECK: database_jobs(shared, snapshot, hints)[CHECK]}, shared)
    loop.step()

    with CaptureQueriesContext(connection) as queries:
        for _ in range(300):
            now[0] += 0.2
            loop.step()

    checks = [query for query in queries if "check_at" in query["sql"]]
    assert 11 <= len(checks) <= 14  # in a minute: every 4.4 seconds


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize(
    ("count", "is_full"), [(0, False), (1, False), (1999, False), (2000, True), (4000, True)]
)
def test_after_a_pass_that_was_not_full_the_next_due_time_is_looked_up(
    monkeypatch: pytest.MonkeyPatch, count: int, is_full: bool
) -> None:
    shared = shared_schedule()
    shared.begin(CHECK)
    shared.end(CHECK, 0, idle_for=4.0)
    monkeypatch.setattr("django_simpletask3.recovery.service.push_overdue", lambda: count)

    redis_jobs(shared, SharedSnapshot())["push_overdue"].work()

    is_triggered = shared.seconds_until(CHECK, 1.0) <= 0.25  # idle, it would be 4 seconds
    assert is_triggered == (count > 0 and not is_full)


@pytest.mark.django_db(databases="__all__")
def test_a_look_tells_of_what_operators_ask() -> None:
    snapshot = SharedSnapshot()
    control.pause(Invoice)

    LeaseMonitor(shared_schedule(), snapshot).check()

    assert snapshot.latest().has_commands


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize("broken", ["command_database", "command_times"])
def test_an_error_with_operator_commands_delays_no_check_of_tasks(
    broken: str, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    def fail(*_: Any) -> Any:
        raise OperationalError("no such table")

    snapshot = SharedSnapshot()
    task = Invoice.objects.create()
    apply(task, EventKind.START, worker="w", values={"check_at": clock.after("default", -1)})
    monkeypatch.setattr(control, broken, fail)
    due_check._fixed_queries.cache_clear()

    watch = LeaseMonitor(shared_schedule(), snapshot)
    moved = eventually(watch.check, timeout=10.0)

    assert (moved, snapshot.latest().has_commands) == (1, True)


def test_the_end_of_a_claim_is_noticed_five_seconds_late_at_most(
    redis_url: str, settings: Any
) -> None:
    claims, queue = ClaimMonitor(), get_queue()
    claims.check()
    nothing = claims.idle_for()
    queue.push("c", [("a", 1)])
    queue.claim("c", worker="w", lease=3)

    claims.check()
    soon = claims.idle_for()
    settings.DJANGO_SIMPLETASK3_SIMQ_RUNNING_TIMEOUT = 1.0
    claims.check()

    assert (nothing, 7.0 < soon < 8.1, claims.idle_for()) == (15.0, True, 6.0)


def test_a_claim_that_has_ended_is_returned_and_ends_the_idle_time(redis_url: str) -> None:
    claims, queue = ClaimMonitor(), get_queue()
    queue.push("c", [("a", 1)])
    queue.claim("c", worker="w", lease=60)
    queue.expire_leases(["w"])

    assert (claims.check(), claims.idle_for(), queue.waiting("c")) == (1, 0.0, 1)
