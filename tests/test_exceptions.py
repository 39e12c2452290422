"""The tree that is drawn is the tree there is."""

import copy
import inspect
import pickle
import re

import pytest

from django_simpletask3 import exceptions
from django_simpletask3.exceptions import (
    InvalidSetting,
    StopReason,
    TaskStopped,
    TransitionRefused,
)

LINE = re.compile(r"^ *(?P<branch>[│ ]*[├└]── )?(?P<name>[A-Z]\w+)(?:  |$)", re.MULTILINE)
DEFINED = {
    name: kind
    for name, kind in vars(exceptions).items()
    if inspect.isclass(kind) and issubclass(kind, BaseException)
}


def drawn() -> dict[str, str]:
    """The parent of each exception in the docstring's drawing."""
    drawing = inspect.cleandoc(exceptions.__doc__ or "").partition("::")[2]
    parents, path = {}, [""]
    for line in LINE.finditer(drawing):
        depth = len(line["branch"] or "") // 4
        parents[line["name"]] = path[depth]
        path[depth + 1 :] = [line["name"]]
    return parents


def instance_of(kind: type[BaseException]) -> BaseException:
    if issubclass(kind, InvalidSetting):
        return kind("NAME", 0, "1 or more")
    if issubclass(kind, TransitionRefused):
        return kind("moved first", pk=7, kind="ack")
    if issubclass(kind, TaskStopped):
        return kind(StopReason.CANCELED)
    return kind("what happened")


def test_every_exception_is_drawn_below_its_parent() -> None:
    found = {name: kind.__base__.__name__ for name, kind in DEFINED.items()}

    assert drawn() == {**found, "SimpleTaskError": "", "BaseException": ""}


@pytest.mark.parametrize("name", DEFINED)
@pytest.mark.parametrize("copied", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_an_exception_reaches_another_process_whole(name: str, copied: object) -> None:
    raised = instance_of(DEFINED[name])

    arrived = copied(raised)  # type: ignore[operator]

    assert (type(arrived), str(arrived)) == (type(raised), str(raised))
    assert vars(arrived) == vars(raised)


def test_a_bad_setting_says_where_it_is_what_it_is_and_what_it_should_be() -> None:
    raised = InvalidSetting("NAME", 0, "1 or more")

    said = str(raised)

    assert said == "NAME is 0; expected 1 or more."
