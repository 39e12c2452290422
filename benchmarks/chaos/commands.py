"""The two runs, from an empty stage to the report."""

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

from benchmarks.chaos import crash_points, execution_log, processes, recovery_probes, report
from benchmarks.chaos.crash_points import SCENARIOS, run_scenario
from benchmarks.chaos.environment import Environment, SetupError
from benchmarks.chaos.invariants import CheckResult, check_invariants, find_leaks
from benchmarks.chaos.random_faults import FaultInjector, FaultLog
from benchmarks.chaos.recovery_delays import OUTAGE_EFFECT_SECONDS, Delay, delays, quantiles

#: A fetcher that dies while it waits for a message is forgotten after its wait, some grace, and a
#: pass of recovery.
DEREGISTERED_AFTER = 1 + 10 + 5 + 1
#: Seconds from a kill until the task is released: where a supervisor lives, and where no process is
#: left who knows.
LIMITS = {"child": 2.0, "machine": settings.LEASE + 5.0}
_LOG_KEYS = ("Traceback", "finish_failed", "recovery_failed", "loop_failed")


def run_random_faults(asked: argparse.Namespace) -> int:
    """Random faults, recovery, invariants, baseline, probes."""
    with Environment() as environment:
        seconds = 60.0 * asked.minutes
        fleet = FaultInjector(environment, asked.seed, nodes=asked.nodes, producers=asked.producers)
        began = time.monotonic()
        try:
            fleet.inject_faults(seconds, rate=asked.rate)
            calmed = time.monotonic()
            is_drained = fleet.heal_and_drain(patience=60.0 + seconds)
            drained = time.monotonic()
            _stay(fleet, DEREGISTERED_AFTER - (drained - calmed))
            fleet.stop_nodes()
        finally:
            fleet.kill_all()
        print("judging ...", flush=True)
        result = check_invariants(fleet.log.dead_pids)
        _find_leaks(result, environment)
        if not is_drained:
            result.add_violation("lost", "the queue was not drained in time")
        took = {
            "storm": round(calmed - began, 1),
            "drain": round(drained - calmed, 1),
            "check": round(time.monotonic() - drained, 1),
        }
        figures = _storm_report(asked, fleet.log, result, took)
        if asked.probes:
            figures["redelivery in calm weather, seconds"] = _probed(asked.probes)
        if asked.baseline:
            figures["stock queue client, killed alike"] = _baseline(environment, asked)
        report.write(figures, asked.json)
        return 0 if result.is_clean else 1


def run_crash_points(asked: argparse.Namespace) -> int:
    """Every way, step by step."""
    chosen = asked.ways.split(",") if asked.ways else list(SCENARIOS)
    if unknown := [name for name in chosen if name not in SCENARIOS]:
        raise SetupError(f"no such way: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    result, ways = CheckResult(), {}
    with Environment() as environment:
        try:
            for name in chosen:
                ways[name] = run_scenario(
                    name, environment, result, first=asked.first, every=asked.every
                )
        finally:
            crash_points.kill_all()
        figures = {
            "machine": report.machine(),
            "ways": ways,
            "violations": report.violations(result) or "none",
        }
    report.write(figures, asked.json)
    return 0 if result.is_clean else 1


def _stay(fleet: FaultInjector, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        fleet.restart_ended()
        time.sleep(0.2)


def _find_leaks(result: CheckResult, environment: Environment) -> None:
    with environment.redis() as client:
        for leak in find_leaks(client, environment.prefix):
            result.add_violation("leaked", leak)


def _storm_report(
    asked: argparse.Namespace, log: FaultLog, result: CheckResult, took: dict[str, float]
) -> dict[str, Any]:
    found = delays(log)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    run = {"seed": asked.seed, **took, "lease": settings.LEASE, "memory in MiB": memory}
    return {
        "run": {**run, **report.machine()},
        "faults": _faults(log),
        "tasks": dict(sorted(result.figures.items())),
        "executed again, after": dict(result.reexecutions.most_common()),
        "recoveries, by reason": dict(result.recoveries.most_common()),
        "promise": report.broken_promises(result),
        "violations": report.violations(result) or "none",
        "given back after a kill, seconds": {
            f"{what}, {weather}": quantiles(
                [
                    delay.seconds
                    for delay in found
                    if delay.what == what and delay.has_no_outage is (weather == "no outage near")
                ],
                LIMITS.get(what) if weather == "no outage near" else None,
            )
            for what in ("child", "supervisor", "node", "machine")
            for weather in ("no outage near", "outage near")
        },
        "slowest of them": [str(delay) for delay in _slowest(found)],
        "producers": _producers(log),
        "nodes": {
            "exit codes": dict(log.exit_codes),
            "surprises": log.anomalies,
            "said": _said(),
        },
    }


def _faults(log: FaultLog) -> dict[str, Any]:
    by: Counter[str] = Counter()
    for kill in log.kills:
        by[kill.what] += len(kill.pids)
    return {"processes killed": log.kill_count, "by": dict(by), "all": dict(log.faults)}


def _slowest(found: list[Delay]) -> list[Delay]:
    """The slowest of each kind of kill and reason."""
    slowest: dict[tuple[str, str, bool], Delay] = {}
    for delay in sorted(found, key=lambda delay: delay.seconds):
        slowest[delay.what, delay.reason, delay.has_no_outage] = delay
    return list(slowest.values())


def _producers(log: FaultLog) -> dict[str, Any]:
    """Errors that a caller saw, and calls that took long although the database was well."""
    errors: Counter[str] = Counter()
    unforeseen, slow = [], []
    for line in execution_log.read():
        text = " ".join(line.details)
        if line.kind == "trouble":
            errors[line.details[1]] += 1
        elif line.kind == "unforeseen":
            unforeseen.append(text)
        elif line.kind == "slow" and not _database_was_away(line, log):
            slow.append(text)
    return {"errors": dict(errors), "unforeseen": unforeseen, "slow": slow}


def _database_was_away(line: execution_log.LogLine, log: FaultLog) -> bool:
    began = line.time - float(line.details[1])
    return any(
        what in ("database", "rows") and start < line.time and end + OUTAGE_EFFECT_SECONDS > began
        for start, end, what in log.outages
    )


def _said() -> dict[str, int]:
    """Words in the nodes' logs that ask for attention, and how often."""
    said: Counter[str] = Counter()
    for log in settings.RUN_FOLDER.glob("node-*.log"):
        text = log.read_text(encoding="utf-8", errors="replace")
        said.update({word: text.count(word) for word in _LOG_KEYS})
    return dict(said)


def _probed(count: int) -> dict[str, Any]:
    """From the kill to the next start, against the limits."""
    vanished = recovery_probes.measure_vanished_nodes(max(1, count // 2))
    return {
        "killed child": quantiles(recovery_probes.measure_killed_children(count), LIMITS["child"]),
        "vanished node": quantiles(vanished, LIMITS["machine"]),
    }


def _baseline(environment: Environment, asked: argparse.Namespace) -> dict[str, Any]:
    """The stock client's figures, from a process of its own."""
    words = [
        environment.redis_server.url,
        str(settings.RUN_FOLDER),
        str(asked.seed),
        str(asked.baseline),
    ]
    stock = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.chaos.baseline", *words],
        cwd=processes.ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        options, _ = stock.communicate()
        found: dict[str, Any] = json.loads(options)
        return found
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(stock.pid, signal.SIGKILL)
