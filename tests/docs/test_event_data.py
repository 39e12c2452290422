"""The page about events names the keys and the reasons that the package writes."""

from django_simpletask3.context import CONTEXT_KEYS, RESERVED_KEYS
from django_simpletask3.ledger.digests import ERASABLE_KEYS
from django_simpletask3.states import EventKind
from tests.docs.event_data import data_keys, reasons
from tests.docs.pages import reference, words


def documented(section: str) -> set[str]:
    text = reference("events").text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in words(row[1])}


#: A key of users, and one that the encoding of large data writes.
NOT_IN_THE_SOURCE = {"payload", "head"}


def test_the_keys_of_data_are_those_of_the_page() -> None:
    assert documented("Keys of data") == data_keys() | NOT_IN_THE_SOURCE


def test_the_keys_of_the_page_are_reserved() -> None:
    assert documented("Keys of data") == RESERVED_KEYS | CONTEXT_KEYS | {"payload"}


def test_what_can_be_erased_is_reserved_but_for_the_payload() -> None:
    assert set(ERASABLE_KEYS) - RESERVED_KEYS == {"payload"}


def test_the_reasons_are_those_of_the_page() -> None:
    assert documented("Reasons") == reasons()


def test_the_table_of_kinds_names_the_keys_of_each() -> None:
    cells = [row[4] for row in reference("events").rows if len(row) == 5]
    kinds = {str(kind) for kind in EventKind}

    assert {name for cell in cells for name in words(cell)} - kinds - {"data"} <= documented(
        "Keys of data"
    )
