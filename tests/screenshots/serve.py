"""The process that serves the admin of one scene: ``python -m tests.screenshots.serve SCENE``.

It prints one line of JSON once it answers: its address, the cookie of the user's session, and the
addresses of the pages of tasks.
"""

import hashlib
import itertools
import json
import os
import platform
import random
import socket
import sys
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.screenshots.site.settings"
_counter = itertools.count()


def pseudorandom(size: int) -> bytes:
    """The same bytes in every run: keys, claims and salts stand in the screenshots."""
    blocks = (hashlib.sha256(b"%d" % next(_counter)).digest() for _ in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def main(scene: str) -> None:
    # What differs from machine to machine, and from run to run.
    socket.gethostname = platform.node = lambda: "app-1"
    os.urandom = random._urandom = pseudorandom  # type: ignore[attr-defined]
    random.seed(1)
    import django

    django.setup()
    from tests.screenshots.scenes import SCENES

    create_tables()
    create_users()
    tasks = SCENES[scene]()
    session = log_in()
    serve({"session": session, "tasks": {name: address_of(task) for name, task in tasks.items()}})


def create_tables() -> None:
    """Create the tables; those of events are append-only."""
    from django.core.management import call_command
    from django.db import connection

    from django_simpletask3.models.registry import task_models
    from django_simpletask3.schema.triggers import Table, creation_statements
    from tests.screenshots.scenes.steps import at

    at("04:00", day=1)
    call_command("migrate", run_syncdb=True, verbosity=0)
    with connection.cursor() as cursor:
        for model in task_models():
            for statement in creation_statements(connection, Table.of(model.event_model)):
                cursor.execute(statement)


def create_users() -> None:
    """Create two users who may do everything."""
    from django.contrib.auth.models import User

    for name in ("maria", "jonas"):
        User.objects.create_superuser(name, password="secret")


def log_in() -> str:
    """The key of a session, which begins when all screenshots are taken."""
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client()
    client.force_login(User.objects.get(username="maria"))
    return client.cookies["sessionid"].value


def address_of(task: Any) -> str:
    from django.urls import reverse

    name = f"admin:{task._meta.app_label}_{task._meta.model_name}_change"
    return reverse(name, args=[task.pk])


def serve(facts: dict[str, Any]) -> None:
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    from tests.screenshots.pages import NOW
    from tests.screenshots.scenes.steps import set_clock

    class QuietHandler(WSGIRequestHandler):
        def log_message(self, *args: Any) -> None:
            """Log nothing."""

    server = ThreadedWSGIServer(("127.0.0.1", 0), QuietHandler)
    handler = StaticFilesHandler(get_wsgi_application())

    def at_the_same_time(environ: Any, start_response: Any) -> Any:
        # The clock of Redis goes on.
        set_clock(NOW)
        return handler(environ, start_response)

    server.set_app(at_the_same_time)
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}", **facts}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
