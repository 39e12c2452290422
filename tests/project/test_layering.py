"""Imports point down, those for the type checker included."""

import ast
from itertools import takewhile
from pathlib import Path

import pytest

from tests.project.sources import PACKAGE, ROOT, Source, name_of, package_sources

#: Lowest first. A package, or a module at the top, imports what stands on lower ranks only.
RANKS: list[set[str]] = [
    {"batches", "context", "exceptions", "logs"},
    {"conf", "states"},
    {"retries", "unique"},
    {"ledger", "queue", "signals"},
    {"db", "control"},
    {"dispatch", "schema"},
    {"transitions", "operations"},
    {"running", "limits", "dependencies", "schedules"},
    {"models"},
    {"execution", "recovery", "retention", "audit", "monitoring", "subscriptions"},
    {"worker", "checks"},
    {"admin", "management", "apps", "migrations"},
    {"testing"},
    {"contrib"},
]
#: Packages that everything imports: an import of a module must not load its neighbours.
EMPTY_FACES = {"conf", "ledger", "db", "transitions"}
MOST_MODULES = 12
ONLY_THE_QUEUE = {"redis", "simqcore"}
SOURCES = package_sources()
PACKAGES = {source.name for source in SOURCES if source.is_package}


def head(name: str) -> str:
    return name.partition(".")[0]


def rank(name: str) -> int | None:
    return next((number for number, names in enumerate(RANKS) if head(name) in names), None)


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
    if head(importer) == head(imported):
        return importer != imported
    above, below = rank(importer), rank(imported)
    return above is not None and below is not None and below < above


def without_leaves(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """What imports in circles, with what imports that; an import of itself is none."""
    while leaves := {name for name, names in graph.items() if not names & graph.keys() - {name}}:
        graph = {name: names for name, names in graph.items() if name not in leaves}
    return graph


def neighbours(importer: str, imported: str) -> tuple[str, str]:
    """The two parts of one package that contain the modules: of ``a.b.x`` and ``a.c``, both."""
    left, right = importer.split("."), imported.split(".")
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False))))
    return ".".join(left[: shared + 1]), ".".join(right[: shared + 1])


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_every_module_has_its_place(source: Source) -> None:
    assert not source.name or rank(source.name) is not None


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

    assert without_leaves(graph) == {}


def test_no_sub_packages_import_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    for source in SOURCES:
        for _, name in internal_imports(source):
            importer, imported = neighbours(source.name, name)
            if {importer, imported} <= PACKAGES:
                graph.setdefault(importer, set()).add(imported)

    assert without_leaves(graph) == {}


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_only_the_queue_imports_redis(source: Source) -> None:
    if head(source.name) == "queue":
        return

    assert not [name for _, name in source.imports() if head(name) in ONLY_THE_QUEUE]


@pytest.mark.parametrize("name", sorted(EMPTY_FACES))
def test_a_low_package_has_an_empty_face(name: str) -> None:
    face = Source(ROOT / PACKAGE / name / "__init__.py")

    assert [node for node in face.tree.body if not isinstance(node, ast.Expr)] == []


@pytest.mark.parametrize(
    "folder",
    sorted({source.path.parent for source in SOURCES}),
    ids=lambda folder: str(folder.relative_to(ROOT)),
)
def test_a_package_has_a_dozen_modules_at_most(folder: Path) -> None:
    modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]

    assert len(modules) <= MOST_MODULES


def test_no_name_has_two_places() -> None:
    names = [name for names in RANKS for name in names]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        pytest.param("models.task", "transitions.writer", True, id="down"),
        pytest.param("transitions.writer", "models.task", False, id="up"),
        pytest.param("ledger.event", "queue.scripts", False, id="sideways"),
        pytest.param("recovery.service", "audit.check", False, id="service to service"),
        pytest.param("worker.process", "worker.fetcher", True, id="inside a package"),
        pytest.param("models.task", "helpers", False, id="a module without a place"),
    ],
)
def test_the_rule_itself(importer: str, imported: str, allowed: bool) -> None:
    assert may_import(importer, imported) is allowed


@pytest.mark.parametrize(
    ("importer", "imported", "pair"),
    [
        pytest.param(
            "admin.dashboard.board", "admin.html.pills", ("admin.dashboard", "admin.html"), id="two"
        ),
        pytest.param(
            "admin.task_page.head.links",
            "admin.actions.single",
            ("admin.task_page", "admin.actions"),
            id="deep",
        ),
        pytest.param("admin.html.pills", "states", ("admin", "states"), id="far"),
    ],
)
def test_the_neighbours_of_an_import(importer: str, imported: str, pair: tuple[str, str]) -> None:
    assert neighbours(importer, imported) == pair


def test_a_circle_of_packages_is_found() -> None:
    assert without_leaves({"a": {"b"}, "b": {"a", "c"}, "c": set()}).keys() == {"a", "b"}


def test_an_import_for_the_type_checker_counts(tmp_path: Path) -> None:
    folder = tmp_path / PACKAGE / "ledger"
    folder.mkdir(parents=True)
    module = folder / "event.py"
    module.write_text("if TYPE_CHECKING:\n    from ..models.task import SimpleTask\n")

    [(line, imported)] = Source(module, root=tmp_path).imports()

    assert (line, internal(imported)) == (2, "models.task")
    assert not may_import("ledger.event", "models.task")
