"""Django's own tests of its tasks, with our backend in the place of Django's."""

import importlib.util
import io
import re
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import django
import pytest

from tests.conftest import missing
from tests.contrib.djangos_own.backends import RunningBackend, StoringBackend
from tests.contrib.djangos_own.sources import fetch

pytestmark = [
    pytest.mark.skipif(django.VERSION < (6,), reason="Django 5.2 has no tasks"),
    pytest.mark.django_db(transaction=True),
]

_SYNCHRONOUS = "calls a synchronous method in a coroutine, which a database refuses"
#: What does not apply, and why: classes, tests, and tests of one class.
EXCLUDED = {
    "TaskTestCase.test_enqueue_task_async": _SYNCHRONOUS,
    "TaskTestCase.test_refresh_result": _SYNCHRONOUS,
    "DummyBackendTestCase.test_enqueue_task_async": _SYNCHRONOUS,
    "test_cannot_get_result": "our results can be read",
    "test_cannot_refresh_result": "our results can be refreshed",
    "test_cannot_pass_run_after": "our tasks can be deferred",
    "test_throws_keyboard_interrupt": "a worker records it as the error of its task",
    "test_refresh_result": "changes a result in the memory of DummyBackend",
    "test_refresh_result_async": "changes a result in the memory of DummyBackend",
    "ImmediateBackendTransactionTestCase": "a worker runs tasks after the commit only",
}
#: Lines that are left out, and why.
LEFT_OUT = {
    # Sent after the commit, no exception is being handled: our own log has it, with traceback.
    "self.assertIn(message, captured_logs.output[0])": "pass",
}
REPLACED = {
    "django.tasks.backends.dummy.DummyBackend": f"{StoringBackend.__module__}.StoringBackend",
    "django.tasks.backends.immediate.ImmediateBackend": (
        f"{RunningBackend.__module__}.RunningBackend"
    ),
    "from django.tasks.backends.dummy import": (
        f"from {StoringBackend.__module__} import StoringBackend as"
    ),
    "from django.tasks.backends.immediate import": (
        f"from {RunningBackend.__module__} import RunningBackend as"
    ),
}
#: How many tests there are at least.
LEAST = {"test_tasks": 30, "test_dummy_backend": 12, "test_immediate_backend": 12}


@pytest.fixture(scope="module")
def package() -> Iterator[Path]:
    """Django's package ``tasks``, which its tests expect under this name."""
    try:
        folder = fetch()
    except OSError as error:
        missing(str(error))
    spec: Any = importlib.util.spec_from_file_location(
        "tasks", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["tasks"] = module
    spec.loader.exec_module(module)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "tasks"]:
        del sys.modules[name]


def load(folder: Path, name: str) -> ModuleType:
    """One of Django's modules of tests, with our backends."""
    source = (folder / f"{name}.py").read_text()
    for old, new in {**REPLACED, **LEFT_OUT}.items():
        source = source.replace(old, new)
    module = ModuleType(f"tasks.{name}")
    module.__package__ = "tasks"
    sys.modules[module.__name__] = module
    exec(compile(source, str(folder / f"{name}.py"), "exec"), vars(module))
    return module


def applies(test: unittest.TestCase) -> bool:
    *_, kind, name = test.id().split(".")
    return not {kind, name, f"{kind}.{name}"} & EXCLUDED.keys()


def each_test(suite: Any) -> Iterator[Any]:
    for test in suite:
        yield from each_test(test) if isinstance(test, unittest.TestSuite) else [test]


@pytest.mark.parametrize("name", LEAST)
@pytest.mark.filterwarnings("default")
def test_djangos_own_tests_pass(name: str, package: Path) -> None:
    module = load(package, name)
    found = list(each_test(unittest.defaultTestLoader.loadTestsFromModule(module)))
    chosen = [test for test in found if applies(test)]
    for test in chosen:
        type(test).databases = {"default", "other"}
        type(test).available_apps = None

    output = io.StringIO()
    result = unittest.TextTestRunner(stream=output).run(unittest.TestSuite(chosen))

    assert result.wasSuccessful(), re.sub(r"(?m)^", "    ", output.getvalue())
    assert result.testsRun == len(chosen) >= LEAST[name]
    assert not result.skipped


def test_no_test_is_excluded_that_does_not_exist(package: Path) -> None:
    sources = "".join((package / f"{name}.py").read_text() for name in LEAST)

    for name in (*EXCLUDED, *LEFT_OUT, *REPLACED):
        assert name in sources or all(part in sources for part in name.split("."))
