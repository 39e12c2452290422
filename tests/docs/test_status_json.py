"""The page about the status JSON names the keys that the command writes."""

from dataclasses import fields, is_dataclass

import pytest

from django_simpletask3.monitoring import health_types
from django_simpletask3.worker.maintenance.pacing import JobRun
from django_simpletask3.worker.node.status import Node
from tests.docs.pages import reference, words

HEALTH_TYPES = [value for value in vars(health_types).values() if is_dataclass(value)]


def documented_keys(name: str) -> list[str]:
    section = reference("status-json").text.split(f"\n## {name}\n")[1].split("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    return [key for row in rows for key in words(row[1])]


@pytest.mark.parametrize("type_", [*HEALTH_TYPES, JobRun, Node], ids=lambda type_: type_.__name__)
def test_the_keys_are_those_of_the_page(type_: type) -> None:
    assert sorted(documented_keys(type_.__name__)) == sorted(field.name for field in fields(type_))
