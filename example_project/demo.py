#!/usr/bin/env python
"""The example project from end to end: ``python demo.py``, or ``python demo.py --web``.

Everything it makes is in one folder of its own, ``var/demo``. DATABASE_URL and
DJANGO_SIMPLETASK3_SIMQ_REDIS_URL, if they are set, name other servers than those it starts itself.
"""

import argparse
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Show what django-simpletask3 does.")
    parser.add_argument("--web", action="store_true", help="the admin on 127.0.0.1, with a worker")
    parser.add_argument("--port", type=int, default=8000, help="of --web (8000)")
    parser.add_argument(
        "--folder", type=Path, default=HERE / "var" / "demo", help="emptied at the start (var/demo)"
    )
    return parser.parse_args()


def check_installed() -> None:
    """End the program with a clear message if what it needs is not installed."""
    needed = ("django", "django_simpletask3", "PIL")
    if missing := [name for name in needed if find_spec(name) is None]:
        sys.exit(
            f"Not installed: {', '.join(missing)}. Say make demo, or, in an environment of your "
            'own, python -m pip install --editable ".[demo]" in the folder above this one.'
        )


def main() -> int:
    asked = arguments()
    check_installed()
    # Customers have names in all alphabets, terminals may have one.
    sys.stdout.reconfigure(errors="replace")
    for number in (signal.SIGTERM, signal.SIGHUP):
        # An exception, so that everything that was started is stopped.
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "EXAMPLE_VAR": str(asked.folder.absolute()),
        "DJANGO_SIMPLETASK3_SIMQ_POP_TIMEOUT": "1",
    }
    # After the environment: settings are read when Django is set up.
    from demonstration import environment, scenario, web

    with environment.lock_folder(asked.folder.absolute()), environment.exit_on_failure():
        return web.run(asked.port) if asked.web else scenario.run()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
