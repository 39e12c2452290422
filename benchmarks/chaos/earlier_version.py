"""The package as it was at an earlier commit, in a folder of its own."""

import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.chaos.environment import SetupError
from benchmarks.chaos.processes import ROOT

PACKAGE = "django_simpletask3"
#: Stands for the first commit with the tables of this checkout.
SAME_TABLES = "same-tables"


@contextmanager
def exported(version: str | None) -> Iterator[Path | None]:
    """Yield the folder that contains the package: ``version``, or that revision of git.

    None without a version. Raises SetupError if there is no such version.
    """
    if version is None or (Path(version) / PACKAGE).is_dir():
        yield None if version is None else Path(version).resolve()
        return
    with TemporaryDirectory() as folder:
        revision = _git("log", "-1", "--format=%H", "--", f":(glob){PACKAGE}/**/migrations/*.py")
        if version != SAME_TABLES:
            revision = version.encode()
        archive = _git("archive", revision.decode().strip(), PACKAGE)
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def _git(*arguments: str) -> bytes:
    try:
        found = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        problem = getattr(error, "stderr", b"").decode().strip() or error
        raise SetupError(f"there is no earlier version: {problem}") from error
    return found.stdout
