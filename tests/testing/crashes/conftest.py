from collections.abc import Callable
from typing import Any

import pytest

from tests.testapp.models import Invoice


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Let this be the task function of Invoice."""

    def use(function: Any) -> None:
        monkeypatch.setattr(Invoice, "do_task", function)

    return use
