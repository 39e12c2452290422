"""The two runs, from an empty stage to the report."""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from django.conf import settings

from benchmarks.chaos import actors, diary, probes, report, walks
from benchmarks.chaos.delays import AFTERMATH, Delay, delays, quantiles
from benchmarks.chaos.stage import Stage
from benchmarks.chaos.storm import Log, Storm
from benchmarks.chaos.verdict import Verdict, judge, leaks
from benchmarks.chaos.walks import WAYS, walked

#: A fetcher that dies while it waits for a message is forgotten after its wait, some grace, and a
#: pass of recovery.
FORGOTTEN_AFTER = 1 + 10 + 5 + 1
_TALK = ("Traceback", "finish_failed", "recovery_failed", "loop_failed")


def storm(asked: argparse.Namespace) -> int:
    """Storm, calm, verdict, baseline, probes."""
    with Stage() as stage:
        seconds = 60.0 * asked.minutes
        fleet = Storm(stage, asked.seed, nodes=asked.nodes, producers=asked.producers)
        began = time.monotonic()
        try:
            fleet.rage(seconds)
            calmed = time.monotonic()
            is_drained = fleet.calm(patience=60.0 + seconds)
            drained = time.monotonic()
            _stay(fleet, FORGOTTEN_AFTER - (drained - calmed))
            fleet.close()
        finally:
            fleet.end()
        verdict = judge(fleet.log.gone)
        _find_leaks(verdict, stage)
        if not is_drained:
            verdict.blame("lost", "the queue was not drained in time")
        took = {
            "storm": round(calmed - began, 1),
            "drain": round(drained - calmed, 1),
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
    verdict, ways = Verdict(), {}
    with Stage() as stage:
        try:
            for name in chosen:
                ways[name] = walked(name, stage, verdict, every=asked.every)
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
    return {
        "run": {"seed": asked.seed, **took, "lease": settings.LEASE, **report.machine()},
        "faults": {
            "processes killed": log.killed,
            "by": dict(Counter(kill.what for kill in log.kills)),
            "all": dict(log.faults),
        },
        "tasks": dict(sorted(verdict.figures.items())),
        "promise": {
            "lost": len(verdict.violations["lost"]),
            "recorded twice": len(verdict.violations["recorded_twice"]),
            "unexplained executions": len(verdict.violations["unexplained"]),
            "leaked": len(verdict.violations["leaked"]),
        },
        "violations": report.violations(verdict) or "none",
        "recovery after a kill, seconds": {
            f"{what}, {weather}": quantiles(
                delay.seconds
                for delay in found
                if delay.what == what and delay.is_clear is (weather == "no outage near")
            )
            for what in ("child", "supervisor", "node", "machine")
            for weather in ("no outage near", "outage near")
        },
        "slowest recoveries": [str(delay) for delay in _slowest(found)],
        "recovery, by reason": dict(Counter(f"{delay.what} {delay.reason}" for delay in found)),
        "producers": _producers(log),
        "nodes": {
            "exit codes": dict(log.exits),
            "surprises": log.surprises,
            "said": _said(),
        },
    }


def _slowest(found: list[Delay]) -> list[Delay]:
    """The slowest of each kind of kill and reason."""
    slowest: dict[tuple[str, str, bool], Delay] = {}
    for delay in sorted(found, key=lambda delay: delay.seconds):
        slowest[delay.what, delay.reason, delay.is_clear] = delay
    return list(slowest.values())


def _producers(log: Log) -> dict[str, Any]:
    """Errors that a caller saw, and calls that took long although the database was well."""
    lines = list(diary.read())
    slow = [line for line in lines if line.word == "slow" and not _database_was_away(line, log)]
    return {
        "errors": dict(Counter(f"{x.word} {x.rest[1]}" for x in lines if x.word == "trouble")),
        "unforeseen": [" ".join(line.rest) for line in lines if line.word == "unforeseen"],
        "slow": [" ".join(line.rest) for line in slow],
    }


def _database_was_away(line: diary.Line, log: Log) -> bool:
    began = line.time - float(line.rest[1])
    return any(
        what == "database" and start < line.time and end + AFTERMATH > began
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
    return {
        "killed child": quantiles(probes.killed_children(count)),
        "vanished node": quantiles(probes.vanished_nodes(max(1, count // 2))),
    }


def _baseline(stage: Stage, asked: argparse.Namespace) -> dict[str, Any]:
    url = stage.redis_server.url
    command = [sys.executable, "-m", "benchmarks.chaos.baseline", url]
    told = subprocess.run(
        [*command, str(asked.seed), str(asked.baseline)],
        cwd=actors.ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(told.stdout)
    return found
