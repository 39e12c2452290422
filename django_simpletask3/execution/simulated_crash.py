"""The exception by which a test lets the worker process end."""


class SimulatedCrash(BaseException):
    """Raised where a test lets the worker process end: nothing is recorded any more.

    ``except Exception`` in a task function does not catch it.
    """
