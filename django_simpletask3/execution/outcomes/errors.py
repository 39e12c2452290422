"""What an error asks for, and whether a model wants a retry after it."""

from __future__ import annotations

from ...exceptions import Cancel, Retry, Snooze
from ...logs import get_logger
from ...models.task import SimpleTask
from ...retries import ErrorNames, error_entries, resolve_error

_logger = get_logger(__name__)

#: What a task function raises to say what follows; the first counts most.
_REQUESTS = (Cancel, Snooze, Retry)


def request_in(error: BaseException) -> BaseException:
    """The Cancel, Snooze or Retry in a group of nothing else, as of a TaskGroup; else ``error``."""
    if isinstance(error, BaseExceptionGroup) and _is_all(error, _REQUESTS):
        return next(found for kind in _REQUESTS if (found := _first_of(kind, error)))
    return error


def is_retried(task: SimpleTask, error: BaseException) -> bool:
    """Whether a retry follows ``error`` as long as one is left.

    Of a group of exceptions, ``retry_on`` has to name all but Retry, and ``no_retry_on`` none.
    """
    if isinstance(error, Retry):
        return True
    retry_on, no_retry_on = task.django_simpletask3_retry_on, task.django_simpletask3_no_retry_on
    model = type(task)
    return (
        task.django_simpletask3_max_retries != 0
        and (retry_on is None or _is_all(error, (Retry, *_classes_of(model, retry_on))))
        and not _has_any(error, _classes_of(model, no_retry_on))
    )


def _classes_of(
    model: type[SimpleTask], names: ErrorNames | None
) -> tuple[type[BaseException], ...]:
    """The classes of ``names``; an entry that names none is left out."""
    classes = []
    for entry in error_entries(names):
        try:
            classes.append(resolve_error(entry))
        except LookupError as problem:
            _logger.warning("error_class_unknown model=%s error=%s", model._meta.label, problem)
    return tuple(classes)


def _is_all(error: BaseException, classes: tuple[type[BaseException], ...]) -> bool:
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, classes):
        return all(_is_all(part, classes) for part in error.exceptions)
    return isinstance(error, classes)


def _has_any(error: BaseException, classes: tuple[type[BaseException], ...]) -> bool:
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, classes):
        return any(_has_any(part, classes) for part in error.exceptions)
    return isinstance(error, classes)


def _first_of(kind: type[BaseException], error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        parts = (_first_of(kind, part) for part in error.exceptions)
        return next((part for part in parts if part is not None), None)
    return error if isinstance(error, kind) else None
