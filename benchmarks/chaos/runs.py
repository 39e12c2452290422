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

from benchmarks.chaos import actors, diary, probes, report, walks
from benchmarks.chaos.delays import AFTERMATH, Delay, delays, quantiles
from benchmarks.chaos.stage import CannotBegin, Stage
from benchmarks.chaos.storm import Log, Storm
from benchmarks.chaos.verdict import Verdict, judge, leaks
from benchmarks.chaos.walks import WAYS, walked

#: A fetcher that dies while it waits for a message is forgotten after its wait, some grace, and a
#: pass of recovery.
FORGOTTEN_AFTER = 1 + 10 + 5 + 1
#: Seconds from a kill until the task is given back: where a supervisor lives, and where nobody is
#: left who knows.
LIMITS = {"child": 2.0, "machine": settings.LEASE + 5.0}
_TALK = ("Traceback", "finish_failed", "recovery_failed", "loop_failed")


def storm(asked: argparse.Namespace) -> int:
    """Storm, calm, verdict, baseline, probes."""
    with Stage() as stage:
        seconds = 60.0 * asked.minutes
        fleet = Storm(stage, asked.seed, nodes=asked.nodes, producers=asked.producers)
        began = time.monotonic()
        try:
            fleet.rage(seconds, rate=asked.rate)
            calmed = time.monotonic()
            is_drained = fleet.calm(patience=60.0 + seconds)
            drained = time.monotonic()
            _stay(fleet, FORGOTTEN_AFTER - (drained - calmed))
            fleet.close()
        finally:
            fleet.end()
        print("judging ...", flush=True)
        verdict = judge(fleet.log.gone)
        _find_leaks(verdict, stage)
        if not is_drained:
            verdict.blame("lost", "the queue was not drained in time")
        took = {
            "storm": round(calmed - began, 1),
            "drain": round(drained - calmed, 1),
            "verdict": round(time.monotonic() - drained, 1),
        }
        told = _storm_report(asked, fleet.log, verdict, took)
        if asked.probes:
            told["redelivery in calm weather, seconds"] = _probed(asked.probes)
        if asked.baseline:
            told["stock queue client, killed alike"] = _baseline(stage, asked)
        report.written(told, asked.json)
        return 0 if verdict.is_clean else 1


def walk(asked: argparse.Namespace) -> int:
    """Every way, step by step."""
    chosen = asked.ways.split(",") if asked.ways else list(WAYS)
    if unknown := [name for name in chosen if name not in WAYS]:
        raise CannotBegin(f"no such way: {', '.join(unknown)}; there are {', '.join(WAYS)}")
    verdict, ways = Verdict(), {}
    with Stage() as stage:
        try:
            for name in chosen:
                ways[name] = walked(name, stage, verdict, first=asked.first, every=asked.every)
        finally:
            walks.end()
        told = {
            "machine": report.machine(),
            "ways": ways,
            "violations": report.violations(verdict) or "none",
        }
    report.written(told, asked.json)
    return 0 if verdict.is_clean else 1


def _stay(fleet: Storm, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        fleet.tend()
        time.sleep(0.2)


def _find_leaks(verdict: Verdict, stage: Stage) -> None:
    with stage.redis() as client:
        for leak in leaks(client, stage.prefix):
            verdict.blame("leaked", leak)


def _storm_report(
    asked: argparse.Namespace, log: Log, verdict: Verdict, took: dict[str, float]
) -> dict[str, Any]:
    found = delays(log)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    run = {"seed": asked.seed, **took, "lease": settings.LEASE, "memory in MiB": memory}
    return {
        "run": {**run, **report.machine()},
        "faults": _faults(log),
        "tasks": dict(sorted(verdict.figures.items())),
        "executed again, after": dict(verdict.again.most_common()),
        "recoveries, by reason": dict(verdict.recoveries.most_common()),
        "promise": report.promise(verdict),
        "violations": report.violations(verdict) or "none",
        "given back after a kill, seconds": {
            f"{what}, {weather}": quantiles(
                [
                    delay.seconds
                    for delay in found
                    if delay.what == what and delay.is_clear is (weather == "no outage near")
                ],
                LIMITS.get(what) if weather == "no outage near" else None,
            )
            for what in ("child", "supervisor", "node", "machine")
            for weather in ("no outage near", "outage near")
        },
        "slowest of them": [str(delay) for delay in _slowest(found)],
        "producers": _producers(log),
        "nodes": {
            "exit codes": dict(log.exits),
            "surprises": log.surprises,
            "said": _said(),
        },
    }


def _faults(log: Log) -> dict[str, Any]:
    by: Counter[str] = Counter()
    for kill in log.kills:
        by[kill.what] += len(kill.pids)
    return {"processes killed": log.killed, "by": dict(by), "all": dict(log.faults)}


def _slowest(found: list[Delay]) -> list[Delay]:
    """The slowest of each kind of kill and reason."""
    slowest: dict[tuple[str, str, bool], Delay] = {}
    for delay in sorted(found, key=lambda delay: delay.seconds):
        slowest[delay.what, delay.reason, delay.is_clear] = delay
    return list(slowest.values())


def _producers(log: Log) -> dict[str, Any]:
    """Errors that a caller saw, and calls that took long although the database was well."""
    errors: Counter[str] = Counter()
    unforeseen, slow = [], []
    for line in diary.read():
        text = " ".join(line.rest)
        if line.word == "trouble":
            errors[line.rest[1]] += 1
        elif line.word == "unforeseen":
            unforeseen.append(text)
        elif line.word == "slow" and not _database_was_away(line, log):
            slow.append(text)
    return {"errors": dict(errors), "unforeseen": unforeseen, "slow": slow}


def _database_was_away(line: diary.Line, log: Log) -> bool:
    began = line.time - float(line.rest[1])
    return any(
        what in ("database", "rows") and start < line.time and end + AFTERMATH > began
        for start, end, what in log.outages
    )


def _said() -> dict[str, int]:
    """Words in the nodes' logs that ask for attention, and how often."""
    said: Counter[str] = Counter()
    for log in settings.RUN_FOLDER.glob("node-*.log"):
        text = log.read_text(encoding="utf-8", errors="replace")
        said.update({word: text.count(word) for word in _TALK})
    return dict(said)


def _probed(count: int) -> dict[str, Any]:
    """From the kill to the next start, against the limits."""
    vanished = probes.vanished_nodes(max(1, count // 2))
    return {
        "killed child": quantiles(probes.killed_children(count), LIMITS["child"]),
        "vanished node": quantiles(vanished, LIMITS["machine"]),
    }


def _baseline(stage: Stage, asked: argparse.Namespace) -> dict[str, Any]:
    """The stock client's figures, from a process of its own."""
    words = [stage.redis_server.url, str(settings.RUN_FOLDER), str(asked.seed), str(asked.baseline)]
    stock = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.chaos.baseline", *words],
        cwd=actors.ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        told, _ = stock.communicate()
        found: dict[str, Any] = json.loads(told)
        return found
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(stock.pid, signal.SIGKILL)
