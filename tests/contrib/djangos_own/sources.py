"""Django's own tests of its tasks, from the source distribution of the installed version.

They are fetched from the package index into a cache, and are no part of this repository.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import django

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "simpletask3-tests"
#: Not test_custom_backend: it tests backends of its own.
FILES = ("__init__", "tasks", "test_tasks", "test_dummy_backend", "test_immediate_backend")
_PIP = ("-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation")


def fetch() -> Path:
    """The folder ``tests/tasks`` of Django; raises OSError if it cannot be had."""
    version = django.get_version()
    folder = CACHE / f"django-{version}"
    if not (folder / "test_tasks.py").exists():
        with tempfile.TemporaryDirectory() as name:
            _extract(_download(version, Path(name)), folder)
    return folder


def _download(version: str, folder: Path) -> Path:
    words = [*_PIP, "--no-binary", "django", "--dest", str(folder), f"django=={version}"]
    done = subprocess.run(
        [sys.executable, *words], check=False, capture_output=True, text=True, timeout=300
    )
    archive = next(folder.glob("*.tar.gz"), None)
    if archive is None:
        raise OSError(f"the source distribution of Django {version}: {done.stderr[-500:]}")
    return archive


def _extract(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {f"tests/tasks/{name}.py": name for name in FILES}
    with tarfile.open(archive) as members:
        for member in members:
            name = wanted.get(member.name.partition("/")[2])
            content = members.extractfile(member) if name else None
            if content is not None:
                # Under its name at last: another run may read it.
                part = folder / f".{name}.{os.getpid()}"
                part.write_bytes(content.read())
                part.rename(folder / f"{name}.py")
