"""Imports point down. What only a type checker imports does not count: it never runs."""

from itertools import chain

import pytest

from tests.project.sources import PACKAGE, Source, name_of, package_sources

# Lowest first; the modules of one rank do not import each other.
RANKS: list[set[str]] = [
    {"blanks", "exceptions", "renames", "spreadsheets"},
    {"slices", "states", "backoff", "encoding", "interruption", "casts", "faults", "legacy"},
    {"conf", "keeping", "seals", "shells"},
    {"context", "subscribers", "signals", "fields", "clock", "policies"},
    {"tombstones", "spoken", "task_row"},
    {"events", "queue", "tellings"},
    {"statements"},
    {"bells", "locks", "deliveries", "holds", "instructions", "pens", "replay", "triggers"},
    {
        "append_only",
        "announcements",
        "hindsight",
        "columns",
        "examination",
        "moves",
        "partitions",
        "waiting",
    },
    {
        "beginnings",
        "births",
        "debuts",
        "last_words",
        "newborns",
        "promises",
        "proofs",
        "rows",
        "unread",
    },
    {"transitions", "demolition", "needs"},
    {"batches", "erasure"},
    {"querysets"},
    {"models"},
    {"instances"},
    {"catalog", "bodies", "permissions"},
    {"addresses", "doorbells", "ledger", "lineage", "neighbors"},
    {"losses", "inheritance", "glances", "problems", "scopes"},
    {
        "execution",
        "figures",
        "recovery",
        "health",
        "retention",
        "audit",
        "bundles",
        "recoveries",
        "subscriptions",
        "schedule",
    },
    {"worker"},
    {"logs", "checks", "admin", "testing", "contrib", "migrations"},
    {"apps", "management"},
]
# The same inside a folder. Folders that are not named here may only not import in circles.
INSIDE: dict[str, list[set[str]]] = {
    "worker": [
        {
            "stopping",
            "lane",
            "counters",
            "identity",
            "sight",
            "timetable",
            "wakeup",
            "postponed",
            "sessions",
            "outlook",
        },
        {"node", "watch", "obedience", "claims"},
        {"loop", "leases", "bodies", "chores", "banner", "heartbeat"},
        {"limits", "reports"},
        {"fetcher", "finisher"},
        {"process"},
        {"child"},
        {"supervisor"},
        {""},
    ],
}
ONLY_THE_QUEUE = {"redis", "simqcore"}
SOURCES = package_sources()


def head(name: str) -> str:
    return name.partition(".")[0]


def rank(ranks: list[set[str]], name: str) -> int | None:
    return next((number for number, names in enumerate(ranks) if name in names), None)


def internal(imported: str) -> str | None:
    """The module of ours that is imported, below the package; None if it is not ours."""
    if imported != PACKAGE and not imported.startswith(f"{PACKAGE}."):
        return None
    known = {source.name for source in SOURCES}
    name = imported.removeprefix(PACKAGE).removeprefix(".")
    return name if name in known else name.rpartition(".")[0]


def internal_imports(source: Source) -> list[tuple[int, str]]:
    pairs = ((line, internal(imported)) for line, imported in source.imports())
    return [(line, name) for line, name in pairs if name is not None]


def may_import(importer: str, imported: str) -> bool:
    if not imported:
        return True
    if head(importer) != head(imported):
        above, below = rank(RANKS, head(importer)), rank(RANKS, head(imported))
    elif head(importer) in INSIDE:
        ranks = INSIDE[head(importer)]
        above, below = (rank(ranks, name.partition(".")[2]) for name in (importer, imported))
    else:
        return importer != imported
    return above is not None and below is not None and below < above


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_every_module_has_its_place(source: Source) -> None:
    if not source.name:
        return

    assert rank(RANKS, head(source.name)) is not None
    if head(source.name) in INSIDE:
        assert rank(INSIDE[head(source.name)], source.name.partition(".")[2]) is not None


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_imports_point_down(source: Source) -> None:
    upward = [
        f"line {line}: {source.name} imports {name}"
        for line, name in internal_imports(source)
        if not may_import(source.name, name)
    ]

    assert not upward


def test_the_package_itself_imports_nothing_of_its_own() -> None:
    package = next(source for source in SOURCES if not source.name)

    assert [name for _, name in internal_imports(package) if name] == []


def test_no_imports_in_circles() -> None:
    graph = {source.name: {name for _, name in internal_imports(source)} for source in SOURCES}

    while leaves := {name for name, names in graph.items() if not names & graph.keys() - {name}}:
        graph = {name: names for name, names in graph.items() if name not in leaves}

    assert graph == {}


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_only_the_queue_speaks_to_redis(source: Source) -> None:
    if head(source.name) == "queue":
        return

    assert not [name for _, name in source.imports() if head(name) in ONLY_THE_QUEUE]


def test_no_module_has_two_places() -> None:
    names = list(chain.from_iterable(RANKS))

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        pytest.param("models", "transitions", True, id="down"),
        pytest.param("transitions", "models", False, id="up"),
        pytest.param("events", "queue.scripts", False, id="sideways"),
        pytest.param("recovery", "audit", False, id="service to service"),
        pytest.param("worker.process", "worker.fetcher", True, id="down inside a folder"),
        pytest.param("worker.fetcher", "worker.finisher", False, id="sideways inside a folder"),
        pytest.param("worker.fetcher", "worker", False, id="the folder itself"),
        pytest.param("queue.client", "queue.scripts", True, id="a folder without order"),
        pytest.param("models", "helpers", False, id="a module without place"),
    ],
)
def test_the_rule_itself(importer: str, imported: str, allowed: bool) -> None:
    assert may_import(importer, imported) is allowed
