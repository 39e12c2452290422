"""Virtual environments of the peers, below build/."""

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from benchmarks.speed.databases import SetupError
from benchmarks.speed.entries import ROOT

_REQUIREMENTS = ROOT / "benchmarks" / "speed" / "contenders" / "requirements.toml"
_FOLDER = ROOT / "build" / "bench-envs"


def names() -> list[str]:
    """Return the names of the peers."""
    return list(_known())


def module_of(name: str) -> str:
    """Return the module of the peer, below ``contenders``."""
    return str(_requirements(name).get("module", name.replace("-", "_")))


def drained(name: str) -> int | None:
    """Return how many tasks the peer drains, if not as many as the others."""
    number: int | None = _requirements(name).get("drained")
    return number


def ensure(name: str) -> str:
    """Return the interpreter of the peer's environment; create it if it is missing or outdated."""
    requirements = _requirements(name)
    python, stamp = _FOLDER / name / "bin" / "python", _FOLDER / name / "requirements.sha256"
    installed = {key: requirements[key] for key in requirements.keys() - {"drained"}}
    digest = hashlib.sha256(json.dumps(installed, sort_keys=True).encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"Installing {name} ...", file=sys.stderr, flush=True)
        _create(
            _FOLDER / name, requirements.get("python", sys.executable), requirements["requirements"]
        )
        stamp.write_text(digest)
    return str(python)


def _create(folder: Path, python: str, requirements: list[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if uv := shutil.which("uv"):
        _run(uv, "venv", "--quiet", "--python", python, str(folder))
        place = str(folder / "bin" / "python")
        _run(uv, "pip", "install", "--quiet", "--python", place, *requirements)
    else:
        _run(python, "-m", "venv", str(folder))
        pip = (str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check")
        _run(*pip, "install", "--quiet", *requirements)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _requirements(name: str) -> dict[str, Any]:
    try:
        known: dict[str, Any] = _known()[name]
        return known
    except KeyError:
        raise SetupError(f"Unknown peer {name!r}; known: {', '.join(names())}.") from None


def _known() -> dict[str, Any]:
    if not _REQUIREMENTS.exists():
        raise SetupError(f"{_REQUIREMENTS.relative_to(ROOT)} is missing.")
    known: dict[str, Any] = tomllib.loads(_REQUIREMENTS.read_text(encoding="utf-8"))
    return known
