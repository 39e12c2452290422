"""One line of a table: a contender in one of its variants, with its threads and processes."""

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
_PATIENCE = 60
_SHOWN = 3000


class ContenderFailed(Exception):
    """A verb did not do what it should; its last output is in the message."""


@dataclass(frozen=True)
class Entry:
    """A contender as it is measured here."""

    name: str
    module: str
    #: What is measured of it, in this order; each gives figures by name.
    phases: Sequence[Callable[["Measurement"], dict[str, float]]] = ()
    #: And what in its first run only.
    once: Sequence[Callable[["Measurement"], dict[str, float]]] = ()
    python: str = sys.executable
    variant: str = "plain"
    threads: int = 10
    processes: int = 1
    body: str = "noop"
    tasks: int = 10_000
    extra: Mapping[str, str] = field(default_factory=dict)

    def ask(self, environment: Environment, url: str, verb: str, *arguments: int) -> dict[str, Any]:
        """What a verb answers. Raises ContenderFailed if it does not."""
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
            said = f"{done.stdout}\n{done.stderr}".strip()[-_SHOWN:]
            raise ContenderFailed(f"{self.name}: {verb}: exit {done.returncode}\n{said}") from None
        return answer if isinstance(answer, dict) else {}

    @contextmanager
    def run_worker(self, environment: Environment, url: str) -> Iterator[subprocess.Popen[bytes]]:
        """Its worker, while the block runs. Raises ContenderFailed if it ends before."""
        with self.run_verb(environment, url, "worker") as process:
            yield process
            if process.poll() is not None:
                raise ContenderFailed(f"{self.name}: the worker ended: {process.returncode}")

    @contextmanager
    def run_verb(
        self, environment: Environment, url: str, verb: str, *arguments: int
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A verb that goes on while the block runs; what it said is added to its errors."""
        log = environment.folder / f"{verb}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [self.python, "-m", self.module, verb, *map(str, arguments)],
                cwd=ROOT,
                env=self._environment(environment, url),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield process
        except (ContenderFailed, TimeoutError) as error:
            said = log.read_text(errors="replace")[-_SHOWN:]
            raise ContenderFailed(f"{error}\n{said}") from error
        finally:
            _end(process)

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


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the worker to end, and let nothing of it stay."""
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
