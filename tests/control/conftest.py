"""Real worker processes for the tests of operator commands."""

from tests.worker.conftest import drain, start_server

__all__ = ["drain", "start_server"]
