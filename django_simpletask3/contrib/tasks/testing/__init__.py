"""For tests of a project: backends that take the fields that ``@task`` takes with ours."""

from .backends import DummyBackend, ImmediateBackend

__all__ = ["DummyBackend", "ImmediateBackend"]
