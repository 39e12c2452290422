"""A function in a module that only the settings name."""

from tests.functions.framework import task


@task
def from_elsewhere() -> str:
    return "here"
