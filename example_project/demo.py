#!/usr/bin/env python
"""The example project from end to end: ``python demo.py``, or ``python demo.py --web``.

Everything it makes is in one folder of its own, ``var/demo``. DATABASE_URL and
DJANGO_SIMPLETASK3_SIMQ_REDIS_URL, if they are set, name other servers than those it starts itself.
"""

import argparse
import os
import signal
import sys
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


def main() -> int:
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "EXAMPLE_VAR": str(asked.folder.absolute()),
        "DJANGO_SIMPLETASK3_SIMQ_POP_TIMEOUT": "1",
    }
    # After the environment: settings are read when Django is set up.
    from demonstration import stage

    with stage.occupied(asked.folder.absolute()):
        if asked.web:
            from demonstration.web import run

            return run(asked.port)
        from demonstration.story import run as tell

        return tell()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
