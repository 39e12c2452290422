"""The commands ``random-faults`` and ``crash-points``, from the environment to the report."""

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from django.conf import settings

from benchmarks.chaos import (
    crash_points,
    earlier_version,
    execution_log,
    processes,
    recovery_probes,
    report,
    storm_schedules,
    walks,
)
from benchmarks.chaos.crash_points import SCENARIOS, run_scenario
from benchmarks.chaos.environment import Environment, SetupError
from benchmarks.chaos.invariants import CheckResult, check_invariants, find_leaks
from benchmarks.chaos.random_faults import FaultInjector, FaultLog
from benchmarks.chaos.recovery_delays import OUTAGE_EFFECT_SECONDS, Delay, delays, quantiles
from django_simpletask3.conf.options import options as task_options

#: Seconds until Redis forgets a fetcher that was killed while it waited for a message: its wait,
#: the grace, a pass of recovery.
DEREGISTERED_AFTER = 1 + 10 + 5 + 1
#: Seconds from a kill until the task is recovered: by the supervisor of the child, or, if no
#: process knows that the worker is dead, after its lease.
LIMITS = {"child": 2.0, "machine": task_options.simq_running_timeout + 5.0}
_LOG_EVENTS = ("Traceback", "finish_failed", "recovery_failed", "loop_failed")


def run_random_faults(options: argparse.Namespace) -> int:
    """Inject random faults, recover, check the invariants, run the baseline and the probes."""
    with earlier_version.exported(options.two_versions) as earlier, Environment() as environment:
        seconds = 60.0 * options.minutes
        injector = FaultInjector(
            environment,
            options.seed,
            nodes=options.nodes,
            producers=options.producers,
            earlier=earlier,
        )
        storm_schedules.add_own()
        began = time.monotonic()
        try:
            injector.inject_faults(seconds, rate=options.rate)
            healed = time.monotonic()
            left = injector.heal_and_drain()
            drained = time.monotonic()
            _keep_running(injector, DEREGISTERED_AFTER - (drained - healed))
            injector.stop_nodes()
        finally:
            injector.kill_all()
        print("checking ...", flush=True)
        result = check_invariants(injector.log.dead_pids)
        _check_schedules(result, injector.log)
        _find_leaks(result, environment)
        if left:
            result.add_violation("lost", f"the drain stopped: {left} tasks left, and none ends")
        took = {
            "faults": round(healed - began, 1),
            "drain": round(drained - healed, 1),
            "check": round(time.monotonic() - drained, 1),
        }
        figures = _random_faults_report(options, injector.log, result, took)
        if options.probes:
            figures["redelivery without faults, seconds"] = _probe(options.probes)
        if options.baseline:
            figures["stock queue client, killed in the same way"] = _baseline(environment, options)
        report.write(figures, options.json)
        return 0 if result.is_clean else 1


def run_crash_points(options: argparse.Namespace) -> int:
    """Crash every scenario at every step, or at a sample, and check the invariants."""
    names = options.scenarios.split(",") if options.scenarios else list(SCENARIOS)
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise SetupError(f"unknown scenario: {', '.join(unknown)}; known: {', '.join(SCENARIOS)}")
    if options.jobs > 1 and len(names) > 1:
        figures = walks.run_side_by_side(options, names)
        report.write(figures, options.json)
        return 0 if figures["violations"] == "none" else 1
    result, scenarios = CheckResult(), {}
    with Environment() as environment:
        try:
            for name in names:
                scenarios[name] = run_scenario(
                    name, environment, result, every=options.every, seed=options.seed
                )
        finally:
            crash_points.kill_all()
        figures = {
            "machine": report.machine(),
            "scenarios": scenarios,
            "violations": report.violations(result) or "none",
        }
    report.write(figures, options.json)
    return 0 if result.is_clean else 1


def _keep_running(injector: FaultInjector, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        injector.restart_ended()
        time.sleep(0.2)


def _check_schedules(result: CheckResult, log: FaultLog) -> None:
    if log.schedules_ended is not None:
        for kind, text in storm_schedules.problems(log.lives, log.schedules_ended):
            result.add_violation(kind, text)
    result.figures["ticks"] = storm_schedules.count_fired()


def _find_leaks(result: CheckResult, environment: Environment) -> None:
    with environment.redis() as client:
        for leak in find_leaks(client, environment.prefix):
            result.add_violation("leaked", leak)


def _random_faults_report(
    options: argparse.Namespace, log: FaultLog, result: CheckResult, took: dict[str, float]
) -> dict[str, Any]:
    found = delays(log)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    run = {
        "seed": options.seed,
        **took,
        "lease": task_options.simq_running_timeout,
        "memory in MiB": memory,
    }
    return {
        "run": {**run, **report.machine()},
        "faults": _faults(log),
        "tasks": dict(sorted(result.figures.items())),
        "executed again, after": dict(result.reexecutions.most_common()),
        "recoveries, by reason": dict(result.recoveries.most_common()),
        "guarantees": report.count_violations(result),
        "violations": report.violations(result) or "none",
        "recovered after a kill, seconds": {
            f"{target}, {outage}": quantiles(
                [
                    delay.seconds
                    for delay in found
                    if delay.target == target
                    and delay.has_no_outage is (outage == "no outage near")
                ],
                LIMITS.get(target) if outage == "no outage near" else None,
            )
            for target in ("child", "supervisor", "node", "machine")
            for outage in ("no outage near", "outage near")
        },
        "slowest of them": [str(delay) for delay in _slowest(found)],
        "producers": _producers(log),
        "nodes": {
            "exit codes": dict(log.exit_codes),
            "anomalies": log.anomalies,
            "logged": _log_counts(),
        },
    }


def _faults(log: FaultLog) -> dict[str, Any]:
    by_target: Counter[str] = Counter()
    for kill in log.kills:
        by_target[kill.target] += len(kill.pids)
    return {"processes killed": log.kill_count, "by": dict(by_target), "all": dict(log.faults)}


def _slowest(found: list[Delay]) -> list[Delay]:
    """Return the slowest delay of each kind of kill and reason."""
    slowest: dict[tuple[str, str, bool], Delay] = {}
    for delay in sorted(found, key=lambda delay: delay.seconds):
        slowest[delay.target, delay.reason, delay.has_no_outage] = delay
    return list(slowest.values())


def _producers(log: FaultLog) -> dict[str, Any]:
    """Return the errors that callers saw, and slow calls while the database was available."""
    errors: Counter[str] = Counter()
    unforeseen, slow = [], []
    for line in execution_log.read():
        text = " ".join(line.details)
        if line.kind == "error":
            errors[line.details[1]] += 1
        elif line.kind == "unforeseen":
            unforeseen.append(text)
        elif line.kind == "slow" and not _database_was_unavailable(line, log):
            slow.append(text)
    return {"errors": dict(errors), "unforeseen": unforeseen, "slow": slow}


def _database_was_unavailable(line: execution_log.LogLine, log: FaultLog) -> bool:
    began = line.time - float(line.details[1])
    return any(
        target in ("database", "rows") and start < line.time and end + OUTAGE_EFFECT_SECONDS > began
        for start, end, target in log.outages
    )


def _log_counts() -> dict[str, int]:
    """Count the events in the nodes' logs that report a problem."""
    counts: Counter[str] = Counter()
    for log in settings.RUN_FOLDER.glob("node-*.log"):
        text = log.read_text(encoding="utf-8", errors="replace")
        counts.update({event: text.count(event) for event in _LOG_EVENTS})
    return dict(counts)


def _probe(count: int) -> dict[str, Any]:
    """Measure the seconds from a kill to the next start, with their limits."""
    vanished = recovery_probes.measure_vanished_nodes(max(1, count // 2))
    return {
        "killed child": quantiles(recovery_probes.measure_killed_children(count), LIMITS["child"]),
        "vanished node": quantiles(vanished, LIMITS["machine"]),
    }


def _baseline(environment: Environment, options: argparse.Namespace) -> dict[str, Any]:
    """Run the baseline in a process of its own and return its figures."""
    arguments = [
        environment.redis_server.url,
        str(settings.RUN_FOLDER),
        str(options.seed),
        str(options.baseline),
    ]
    stock = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.chaos.baseline", *arguments],
        cwd=processes.ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = stock.communicate()
        found: dict[str, Any] = json.loads(output)
        return found
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(stock.pid, signal.SIGKILL)
