"""``python -m tests.commands``: runs commands in forks of a process that has imported Django.

A command is a process of its own, with a folder, an environment and settings of its own; only the
second that importing takes is saved. One request per line on stdin, as JSON; one answer per line.
"""

import importlib
import json
import os
import runpy
import signal
import sys
import traceback
from contextlib import suppress
from typing import Any

# Nothing that reads settings or defines models.
IMPORTED_ONCE = [
    "django.contrib.contenttypes.management",
    "django.core.management.commands.makemigrations",
    "django.core.management.commands.migrate",
    "django.core.serializers.json",
    "django.db.migrations.autodetector",
    "django.db.models",
    "django.forms",
    "django.http",
    "django.template",
    "django.test.utils",
    "django.urls",
    "psycopg",
    "MySQLdb",
    "redis.asyncio",
    "simqcore",
    "yaml",
]


def run(command: list[str]) -> int:
    """What ``python <command>`` does here; its exit code."""
    try:
        if command[0] == "-c":
            sys.argv = command
            exec(command[1], {"__name__": "__main__"})
        else:
            sys.argv = command
            runpy.run_path(command[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def become(asked: dict[str, Any]) -> None:
    """Be the process that ``asked`` describes."""
    signal.alarm(asked["timeout"])
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.path[:] = [asked["folder"], *(path for path in sys.path if path != asked["folder"])]
    source = os.open(asked["input"], os.O_RDONLY)
    sink = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for there, here in ((source, 0), (sink, 1), (sink, 2)):
        os.dup2(there, here)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, buffering=1, closefd=False)
        for number, mode in enumerate(("r", "w", "w"))
    )


def main() -> None:
    sys.dont_write_bytecode = True
    root = os.getcwd()  # noqa: PTH109 - a text for sys.path
    sys.path[:] = [root, *(path for path in sys.path if path not in ("", root))]
    for name in IMPORTED_ONCE:
        with suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            code = 1
            try:
                asked = json.loads(line)
                become(asked)
                code = run(asked["command"])
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
