"""Real worker processes for the tests of health."""

from tests.process.conftest import start_server

__all__ = ["start_server"]
