"""What screenshots need besides."""

from tests.browser.conftest import axe

__all__ = ["axe"]
