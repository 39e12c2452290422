"""The queue: SimQ, made atomic."""

from __future__ import annotations

from .classic import Classic
from .roll import Roll


class Queue(Classic, Roll):
    """Messages in Redis, in the format of ``simqcore`` 0.2.

    Keys, statuses and values are those of the stock client, so that both can work on the same
    queues; our own keys begin with ``{prefix}:x:``. Each operation is one script, atomic, and
    harmless to repeat for the same claim; a claim that is no longer valid changes nothing. Redis
    Cluster needs a prefix that is a hash tag (``{simq}``).
    """
