"""Each path of the middleware that cannot be used is one error."""

from typing import Any

import pytest

from django_simpletask3.checks import MIDDLEWARE_ID
from tests.checks.test_checks import messages_of_package

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]

MODULE = "tests.testapp.middleware"
FAULTS = {
    f"{MODULE}.absent": 'does not define a "absent" attribute',
    "absent.module.trace": "No module named 'absent'",
    "trace": "doesn't look like a module path",
    "tests.absent.trace": "No module named",
    f"{MODULE}.not_callable": "expected a function or a class",
    f"{MODULE}.not_decorated": "is a generator function without @contextmanager",
    f"{MODULE}.not_decorated_async": "is a generator function without @asynccontextmanager",
    f"{MODULE}.coroutine": "is a coroutine function",
    f"{MODULE}.NoManager": "is a class without __enter__",
    f"{MODULE}.without_task": "cannot be called with the task alone: too many positional arguments",
}
GOOD = [f"{MODULE}.{name}" for name in ("plain", "asynchronous", "Both", "SwallowingAsync")]


@pytest.mark.parametrize("path", FAULTS)
def test_a_path_that_cannot_be_used_is_an_error(path: str, settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_MIDDLEWARE = [*GOOD, path]

    (error,) = messages_of_package()

    assert error.id == MIDDLEWARE_ID
    assert path in error.msg
    assert FAULTS[path] in error.msg
    assert "\n" not in error.msg


def test_each_of_several_is_an_error(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_MIDDLEWARE = list(FAULTS)

    assert [error.id for error in messages_of_package()] == [MIDDLEWARE_ID] * len(FAULTS)


@pytest.mark.parametrize("paths", [GOOD, ["contextlib.nullcontext"], []])
def test_paths_of_context_managers_are_none(paths: list[str], settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_MIDDLEWARE = paths

    assert messages_of_package() == []


def test_a_value_that_is_no_list_is_one_error_of_the_setting(settings: Any) -> None:
    settings.DJANGO_SIMPLETASK3_MIDDLEWARE = {"a": 1}

    (error,) = messages_of_package()

    assert error.id == "django_simpletask3.E016"
