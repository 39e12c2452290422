"""Django's Tasks API: functions decorated with ``@task`` run on the nodes of this package.

Add the app to ``INSTALLED_APPS``, and name the backend in ``TASKS``.
"""

from typing import Any

__all__ = ["SimpleTaskBackend"]


def __getattr__(name: str) -> Any:
    # Late: the app can be installed, and its models migrated, before TASKS names the backend.
    if name == "SimpleTaskBackend":
        from .backend import SimpleTaskBackend

        return SimpleTaskBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
