"""Repeat a transaction of this package that lost against another one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import OperationalError, connections

from ..logs import get_logger

T = TypeVar("T")

_logger = get_logger(__name__)

#: Pauses in seconds before the repetitions.
_PAUSES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.1, 0.2, 0.2, 0.4, 0.4)
#: Serialization failure and deadlock; of MariaDB: deadlock, and changed since it was read.
_SQLSTATES = ("40001", "40P01")
_ERRNOS = (1213, 1020)


def repeat_on_conflict(using: str, work: Callable[[], T]) -> T:
    """The result of ``work``, which is repeated if its transaction conflicts with another.

    Within a transaction of the caller's it is called once: only the caller can repeat that.
    """
    connection = connections[using]
    if connection.in_atomic_block or not connection.get_autocommit():
        return work()
    for pause in _PAUSES:
        try:
            return work()
        except OperationalError as error:
            if not is_conflict(error):
                raise
            _logger.info("transaction_repeated database=%s error=%s", using, error)
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load
    return work()


def is_conflict(error: BaseException) -> bool:
    """Whether the database rolled a transaction back because of another one."""
    driver: Any = error.__cause__
    state = getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None)
    number = driver.args[0] if driver is not None and driver.args else None
    return state in _SQLSTATES or number in _ERRNOS
