"""An entry of a report: a contender in a variant, with its threads and processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.speed.environment import Environment

if TYPE_CHECKING:
    from benchmarks.speed.phases import Measurement

ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT = 1800
_STOP_TIMEOUT = 60
_MAX_SHOWN = 3000


class ContenderFailed(Exception):
    """A verb failed; the message contains the end of its output."""


@dataclass(frozen=True)
class Entry:
    """A contender with the options with which it is measured."""

    name: str
    module: str
    #: Measured in every run, in this order; each returns figures by name.
    phases: Sequence[Callable[["Measurement"], dict[str, float]]] = ()
    #: Measured in the first run only.
    once: Sequence[Callable[["Measurement"], dict[str, float]]] = ()
    python: str = sys.executable
    variant: str = "plain"
    threads: int = 10
    processes: int = 1
    body: str = "noop"
    tasks: int = 10_000
    #: So many are drained, if not ``tasks``: a slow worker needs long for them.
    drained: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def ask(self, environment: Environment, url: str, verb: str, *arguments: int) -> dict[str, Any]:
        """Run a verb and return its answer. Raise ContenderFailed if it fails."""
        done = subprocess.run(
            [self.python, "-m", self.module, verb, *map(str, arguments)],
            cwd=ROOT,
            env=self._environment(environment, url),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        try:
            assert done.returncode == 0
            answer = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
        except (AssertionError, ValueError):
            output = f"{done.stdout}\n{done.stderr}".strip()[-_MAX_SHOWN:]
            raise ContenderFailed(
                f"{self.name}: {verb}: exit {done.returncode}\n{output}"
            ) from None
        return answer if isinstance(answer, dict) else {}

    @contextmanager
    def run_worker(self, environment: Environment, url: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run its worker during the block. Raise ContenderFailed if the worker ends early."""
        with self.run_verb(environment, url, "worker") as process:
            yield process
            if process.poll() is not None:
                raise ContenderFailed(f"{self.name}: the worker ended: {process.returncode}")

    @contextmanager
    def run_producer(self, environment: Environment, url: str) -> Iterator["Producer"]:
        """Run a process during the block that enqueues in turn with others."""
        pipe = subprocess.PIPE
        with self.run_verb(environment, url, "turns", stdin=pipe, stdout=pipe) as process:
            yield Producer(self.name, process)

    @contextmanager
    def run_verb(
        self,
        environment: Environment,
        url: str,
        verb: str,
        *arguments: int,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a verb during the block; add its output to the errors of the block."""
        log = environment.folder / f"{self.name} {verb}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [self.python, "-m", self.module, verb, *map(str, arguments)],
                cwd=ROOT,
                env=self._environment(environment, url),
                stdin=stdin,
                stdout=stdout or output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield process
        except (ContenderFailed, TimeoutError) as error:
            logged = log.read_text(errors="replace")[-_MAX_SHOWN:]
            raise ContenderFailed(f"{error}\n{logged}") from error
        finally:
            _stop(process)

    def _environment(self, environment: Environment, url: str) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DJANGO_", "SIMQ_", "REDIS", "BENCH_", "PYTHONPATH"))
        }
        return inherited | {
            "BENCH_DATABASE": url,
            "BENCH_REDIS": environment.redis_url,
            "BENCH_TRACE": str(environment.trace),
            "BENCH_VARIANT": self.variant,
            "BENCH_THREADS": str(self.threads),
            "BENCH_PROCESSES": str(self.processes),
            "BENCH_BODY": self.body,
            **self.extra,
        }


@dataclass(frozen=True)
class Producer:
    """A running process of an entry, which waits for its turn."""

    name: str
    process: subprocess.Popen[bytes]

    def take_turn(self, case: str, count: int) -> dict[str, Any]:
        """Enqueue so many tasks; return the answer. Raise ContenderFailed if it ends."""
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(f"{case} {count}\n".encode())
            self.process.stdin.flush()
            answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        except (BrokenPipeError, ValueError):
            raise ContenderFailed(f"{self.name}: {case}: the process ended") from None
        return answer


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the worker with SIGTERM, then kill every process of its group."""
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_TIMEOUT)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
