#!/usr/bin/env python
"""Run the example project from end to end: ``python demo.py``, or ``python demo.py --web``.

All its files are in one folder, ``var/demo``. Set DATABASE_URL and
DJANGO_SIMPLETASK3_SIMQ_REDIS_URL to use your own servers instead of SQLite and an embedded Redis.
"""

import argparse
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Show what django-simpletask3 does.")
    parser.add_argument(
        "--web", action="store_true", help="serve the admin on 127.0.0.1, with a worker"
    )
    parser.add_argument("--port", type=int, default=8000, help="port of --web (8000)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=HERE / "var" / "demo",
        help="working folder, emptied first (var/demo)",
    )
    return parser.parse_args()


def check_installed() -> None:
    """Exit with a message if a required package is not installed."""
    needed = ("django", "django_simpletask3", "PIL")
    if missing := [name for name in needed if find_spec(name) is None]:
        sys.exit(
            f"Not installed: {', '.join(missing)}. Run make demo in the repository, or in your "
            'environment there: python -m pip install --editable ".[demo]"'
        )


def main() -> int:
    arguments = parse_arguments()
    check_installed()
    # Names of customers have characters that the encoding of the terminal may lack.
    sys.stdout.reconfigure(errors="replace")
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Exit by an exception, so that all processes that were started are stopped.
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "EXAMPLE_VAR": str(arguments.folder.absolute()),
        "DJANGO_SIMPLETASK3_SIMQ_POP_TIMEOUT": "1",
    }
    # Import after the environment is set: Django reads its settings from there.
    from demonstration import environment, scenario, web

    with environment.lock_folder(arguments.folder.absolute()), environment.exit_on_failure():
        return web.run(arguments.port) if arguments.web else scenario.run()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
