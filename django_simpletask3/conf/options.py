"""The settings: each is read from the environment or Django's settings once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Generic, TypeVar, cast, overload

from django.conf import settings
from django.core.signals import setting_changed

from ..exceptions import HIDDEN, InvalidSetting
from .parsers import (
    ACTION,
    COUNT,
    FLAG,
    PATHS,
    POLICIES,
    SECONDS,
    TEXT,
    WHOLE_SECONDS,
    Parser,
    template_parser,
)

T = TypeVar("T")

PREFIX = "DJANGO_SIMPLETASK3_"
_MISSING = object()

#: Values that were read in an earlier generation are read again.
_generation = 0


def clear_cached_values(**_: object) -> None:
    """Let every setting be read again; connected to ``setting_changed``.

    Call it after a change that sends no signal, such as one of the environment.
    """
    global _generation
    _generation += 1


def generation() -> int:
    """A number that is another one once settings may have changed."""
    return _generation


setting_changed.connect(clear_cached_values, dispatch_uid=__name__)


class Option(Generic[T]):
    """One setting: the first of its names found in the environment, then in Django's settings.

    The value is cached until Django's ``setting_changed`` is sent, as by ``override_settings``. The
    environment is read when the process first needs the setting.
    """

    def __init__(
        self,
        default: T | None,
        parser: Parser[T],
        *,
        aliases: Iterable[str] = (),
        summary: str = "",
        is_secret: bool = False,
    ) -> None:
        self.default = default
        self.parser = parser
        self.aliases = tuple(aliases)
        self.summary = summary
        #: Whether a value may contain a password: an error does not show it.
        self.is_secret = is_secret
        self.name = ""
        #: The generation in which the value was read, and the value.
        self._cached: tuple[int, Any] = (-1, None)

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.name = PREFIX + attribute.upper()

    @property
    def names(self) -> tuple[str, ...]:
        """The main name, then the aliases, in the order in which they are looked for."""
        return (self.name, *self.aliases)

    @property
    def hint(self) -> str:
        """What to do about a bad value, in one sentence."""
        return (
            f"Set {self.name} to {self.parser.expected}, in the environment or in settings.py "
            f"(default: {self.default!r})."
        )

    def find_raw_value(self) -> tuple[str, object]:
        """The name a raw value stands under, and the value; else the main name and the default."""
        for name in self.names:
            if name in os.environ:
                return name, os.environ[name]
        for name in self.names:
            value = getattr(settings, name, _MISSING)
            if value is not _MISSING:
                return name, value
        return self.name, self.default

    def value(self) -> T:
        """The value to use. Raises InvalidSetting, naming the setting, if it cannot be used."""
        generation, value = self._cached
        if generation != _generation:
            # Before the setting is read: a change while it is read must not be overlooked.
            generation = _generation
            value = self._read()
            self._cached = (generation, value)
        return cast("T", value)

    def _read(self) -> T:
        name, raw = self.find_raw_value()
        try:
            return self.parser.parse(raw)
        except (ValueError, TypeError, LookupError, ArithmeticError):
            shown = HIDDEN if self.is_secret else raw
            raise InvalidSetting(name, shown, self.parser.expected) from None

    @overload
    def __get__(self, instance: None, owner: type) -> Option[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Option[T] | T:
        if instance is None:
            return self
        generation, value = self._cached  # as value() does: some are read several times per task
        return cast("T", value) if generation == _generation else self.value()


class Options:
    """Every setting, as an attribute named like the setting without its prefix, in lower case."""

    simq_redis_url = Option(
        "redis://localhost:6379/0",
        TEXT,
        aliases=(PREFIX + "SIMQ_REDIS", "SIMQ_REDIS_URL", "SIMQ_REDIS", "REDIS_URL", "REDIS"),
        summary="Where SimQ's Redis is.",
        is_secret=True,
    )
    simq_pop_timeout = Option(
        5.0,
        SECONDS,
        aliases=("SIMQ_POP_TIMEOUT",),
        summary="How long a fetcher waits for a message at a time.",
    )
    default_simq_worker_number = Option(
        5,
        COUNT,
        aliases=("DEFAULT_SIMQ_WORKER_NUMBER",),
        summary="Threads per node for a model without `django_simpletask3_worker_number`.",
    )
    simq_timeout_task_recovery_interval = Option(
        120.0,
        SECONDS,
        aliases=("SIMQ_TIMEOUT_TASK_RECOVERY_INTERVAL",),
        summary="How often waiting tasks are compared with the messages in Redis.",
    )
    simq_default_running_timeout_action = Option(
        "recover",
        ACTION,
        aliases=("SIMQ_DEFAULT_RUNNING_TIMEOUT_ACTION",),
        summary="What happens to a task whose worker was lost: `recover` or `drop`.",
    )
    simq_prefix = Option(
        "simq", TEXT, aliases=("SIMQ_PREFIX",), summary="First part of every Redis key."
    )
    simq_ack_event_expire = Option(
        60 * 60 * 24,
        WHOLE_SECONDS,
        aliases=(PREFIX + "ACK_EVENT_EXPIRE", "SIMQ_ACK_EVENT_EXPIRE"),
        summary="How long Redis remembers that a message is done, for those who wait.",
    )
    simq_done_item_expire = Option(
        60 * 60 * 24 * 7,
        WHOLE_SECONDS,
        aliases=("SIMQ_DONE_ITEM_EXPIRE",),
        summary="How long Redis keeps a finished message.",
    )
    simq_worker_status_expire = Option(
        60 * 5,
        WHOLE_SECONDS,
        aliases=("SIMQ_WORKER_STATUS_EXPIRE",),
        summary="How long Redis remembers a worker that does not report.",
    )
    simq_running_timeout = Option(
        60.0 * 5,
        SECONDS,
        aliases=("SIMQ_RUNNING_TIMEOUT",),
        summary="The lease: how long a claim may stand that its worker does not renew.",
    )
    simq_running_timeout_handler_policies = Option(
        None,
        POLICIES,
        aliases=("SIMQ_RUNNING_TIMEOUT_HANDLER_POLICIES",),
        summary="The two settings above, per channel.",
    )
    event_queue_channel_template = Option(
        "django-simpletask3:{app_label}.{model_name}",
        Parser(
            "a template naming {app_label} and {model_name}",
            template_parser(app_label="app", model_name="task"),
        ),
        summary="The SimQ channel of a model.",
    )
    task_id_template = Option(
        "django-simpletask3:{app_label}.{model_name}:{id}",
        Parser(
            "a template naming {app_label}, {model_name} and {id}",
            template_parser(app_label="app", model_name="task", id=1),
        ),
        summary="The SimQ message id of a task.",
    )
    result_size_limit = Option(
        1024 * 1024,
        COUNT,
        summary="The largest result kept, in bytes of JSON; a larger one is cut and marked.",
    )
    shutdown_grace = Option(
        25.0, SECONDS, summary="How long a stopping worker lets running tasks finish."
    )
    middleware = Option(
        (),
        PATHS,
        summary="Context managers around every task function, the outermost first.",
    )
    admin_reason_required = Option(
        False,
        FLAG,
        summary="Whether the actions of the admin are refused to a user who gives no reason.",
    )


options = Options()


def all_options() -> list[Option[Any]]:
    """Every option there is, in the order of the documentation."""
    return [value for value in vars(Options).values() if isinstance(value, Option)]
