"""Only ``transitions/writer.py`` writes the columns that the events yield.

New rows are inserted by ``plain.py`` and ``general.py`` in ``transitions/new_tasks``.
"""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.project.sources import PACKAGE, Source, name_of, package_sources

PROJECTED = {
    "status",
    "attempt",
    "sequence",
    "digest",
    "start_time",
    "done_time",
    "success",
    "result_data",
    "error_data",
    "result_time",
}
WRITER = "transitions.writer"
PLAIN = "transitions.new_tasks.plain"
GENERAL = "transitions.new_tasks.general"
#: They name the type of the rows that the writer has locked, to read them.
READERS = {"limits.admission", "transitions.participants", "transitions.unique_keys.resets"}
#: Who may write with what: only transitions.py reaches the tables, be it through rows.py, or
#: through the insert of a new row, whose event it has charged.
WRITING_FUNCTIONS = {
    "db.locked_rows": {WRITER, *READERS},
    "db.inserts": {GENERAL, PLAIN, f"{PLAIN}_model", "models.task", "models.queryset"},
    "db.backends": {WRITER, "db.locked_rows", "db.inserts"},
}
#: What migrations run, on models as migrations know them, before any worker does.
FOUNDERS = {"schema.backfill", "schema.inferred_events"}
WRITES_BY_KEYWORD = {"update", "aupdate", "update_or_create", "aupdate_or_create"}
WRITES_BY_KEYWORD |= {"update_managed", "update_managed_skip_locked"}
WRITES_BY_NAME = {"bulk_update", "abulk_update", "bulk_create", "abulk_create", "save", "asave"}
SETTERS = {"setattr", "__setattr__", "delattr", "__delattr__"}
SQL = re.compile(r"\bUPDATE\b.+\bSET\b", re.DOTALL)
# Function and column of what looks like a write of a task's state and is none; ``*`` is a name
# that is computed.
ALLOWED: dict[tuple[str, str], str] = {
    ("ledger.event.make_event_model", "*"): "puts the companion model into its task's module",
    (
        "db.fast_instances.build_without_init",
        "*",
    ): "what a new instance says of a row that was read, or of a new event",
    ("running.attempt.Attempt.__post_init__", "attempt"): "an attempt remembers its number",
    ("db.inserts.attach_events", "*"): "lays an event beside the columns, for the insert",
    ("db.inserts.one_statement", "*"): "lays a mark beside the columns, for the insert",
    ("ledger.columns.remember_loaded", "*"): "keeps beside the columns what was loaded",
    ("audit.check._repair", "*"): "writes worker and parent, which are not projected",
    ("db.postgresql.cursors.execute", "*"): "keeps a cursor at a connection",
    ("transitions.restore.restore_on_error", "*"): "puts back what a failed transaction has set",
    ("transitions.transition.Transition._build_event", "digest"): "seals a new event, not a row",
    (
        "models.queryset.TaskQuerySet.update",
        "*",
    ): "refuses projected columns, then is Django's update",
    ("models.queryset.TaskQuerySet.update_or_create", "*"): "refuses them, then is Django's",
    (
        "models.queryset.TaskQuerySet.update_managed",
        "*",
    ): "for callers that this test reads as writers",
    (
        "models.queryset.TaskQuerySet.update_managed_skip_locked",
        "*",
    ): "for callers that this test reads as writers",
    ("contrib.tasks.registry.with_values", "*"): "of a task of the framework, which is no row",
    ("contrib.tasks.models._make_queue_model", "*"): "the model, in its module",
    ("testing.autocommit._Emulation.active", "*"): "the state of a connection, which is no row",
    ("testing.autocommit._Emulation._leave_transaction", "*"): "the same",
    ("testing.crashes.recovery._as_claimed", "*"): "an instance as a lost worker knows it",
    ("schedules.operators.enable", "*"): "the rows of schedules, which are no tasks",
    ("schedules.operators.disable", "*"): "the same",
    ("schedules.sync._update", "*"): "the row of a schedule, which is no task",
    ("schedules.sync._update", "digest"): "that of its definition",
    ("ledger.tombstone.Tombstone.summarize", "digest"): "a tombstone's own, over what is gone",
    (
        "db.store.Store._update_one_by_one",
        "*",
    ): "only the writer imports it (tested below)",
    (
        "db.locked_rows.LockedRows._write_other_tables",
        "*",
    ): "the same, for the columns of a child or a parent table",
}


def writes(tree: ast.AST, scope: str = "") -> Iterator[tuple[str, str]]:
    """Function and column of each write of a projected column."""
    for node in ast.iter_child_nodes(tree):
        yield from ((scope, column) for column in _written(node))
        yield from writes(node, _inner(scope, node))


def _inner(scope: str, node: ast.AST) -> str:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return f"{scope}.{node.name}".lstrip(".")
    return scope


def _written(node: ast.AST) -> set[str]:
    match node:
        case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()):
            return {name} & PROJECTED
        case ast.Subscript(value=holder, ctx=ast.Store() | ast.Del()) if _is_namespace(holder):
            return _text(node.slice)
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
            return _written_by_call(name, node)
        case ast.Constant(value=str(text)) if SQL.search(text):
            return {column for column in PROJECTED if re.search(rf"\b{column}\b", text)}
    return set()


def _written_by_call(name: str, call: ast.Call) -> set[str]:
    if name in SETTERS:
        target = call.args[-1] if name.strip("_") == "delattr" else call.args[-2]
        return _text(target)
    if name in WRITES_BY_KEYWORD:
        return _keywords(call) | _texts(call) | _computed(call)
    if name in WRITES_BY_NAME:
        return _texts(call)
    return set()


def _keywords(call: ast.Call) -> set[str]:
    return {keyword.arg for keyword in call.keywords if keyword.arg in PROJECTED}


def _texts(call: ast.Call) -> set[str]:
    """Projected names among the texts in the arguments, at any depth but inside ``F(...)``."""
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    return set().union(*(_texts_in(value) for value in values))


def _texts_in(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Constant):
        return {node.value} & PROJECTED
    if isinstance(node, ast.Call):
        return set()
    return set().union(*(_texts_in(child) for child in ast.iter_child_nodes(node)))


def _computed(call: ast.Call) -> set[str]:
    """Names that cannot be read from the source: ``**names``, or a mapping into a namespace."""
    opened = [word.value for word in call.keywords if word.arg is None]
    if isinstance(call.func, ast.Attribute) and _is_namespace(call.func.value):
        opened += call.args
    return {"*"} if any(not isinstance(value, ast.Dict) for value in opened) else set()


def _is_namespace(node: ast.expr) -> bool:
    match node:
        case ast.Attribute(attr="__dict__") | ast.Call(func=ast.Name(id="vars")):
            return True
    return False


def _text(node: ast.expr) -> set[str]:
    if not isinstance(node, ast.Constant):
        return {"*"}
    return {str(node.value)} & PROJECTED


def writes_of(source: Source) -> set[tuple[str, str]]:
    return {(f"{source.name}.{scope}", column) for scope, column in writes(source.tree)}


WRITERS = {WRITER, GENERAL, PLAIN, *FOUNDERS}
SOURCES = [source for source in package_sources() if source.name not in WRITERS]


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_no_other_module_writes_a_projected_column(source: Source) -> None:
    assert writes_of(source) - ALLOWED.keys() == set()


def test_every_exception_is_still_needed() -> None:
    found = set().union(*(writes_of(source) for source in SOURCES))

    assert ALLOWED.keys() - found == set()


@pytest.mark.parametrize("name", WRITING_FUNCTIONS)
def test_only_the_writer_imports_the_writing_functions(name: str) -> None:
    assert importers(name) == WRITING_FUNCTIONS[name]


def test_no_running_code_uses_what_migrations_run() -> None:
    assert importers("schema.inferred_events") == {"schema.backfill"}
    assert importers("schema.backfill") == {"schema.missing_migrations", "operations"}


def importers(module: str) -> set[str]:
    return {
        source.name
        for source in package_sources()
        for _, imported in source.imports()
        if f"{imported}.".startswith(f"{PACKAGE}.{module}.")
    }


@pytest.mark.parametrize(
    "code",
    [
        "task.status = 20",
        "task.attempt += 1",
        "task.success: bool = True",
        "first, task.digest = pair",
        "for task.sequence in numbers: pass",
        "del task.result_data",
        "setattr(task, 'error_data', None)",
        "setattr(task, name, value)",
        "delattr(task, 'status')",
        "object.__setattr__(task, 'status', 20)",
        "super().__setattr__('status', 20)",
        "task.__dict__['status'] = 20",
        "task.__dict__.update(status=20)",
        "task.__dict__[name] = 20",
        "vars(task)['status'] = 20",
        "vars(task).update(columns)",
        "rows.update(status=20)",
        "rows.update(**columns)",
        "rows.filter(pk=1).update(**{'status': 20})",
        "rows.update_or_create(pk=1, defaults={'success': True})",
        "rows.bulk_update(tasks, ['status', 'note'])",
        "rows.bulk_update(tasks, fields=('done_time',))",
        "rows.bulk_create(tasks, update_conflicts=True, update_fields=['status'])",
        "task.save(update_fields={'start_time'})",
        "cursor.execute('UPDATE app_task SET status = 20')",
    ],
)
def test_a_write_is_seen(code: str) -> None:
    assert list(writes(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "status = 20",
        "task.note = task.status",
        "rows.filter(status=10).update(worker='')",
        "rows.update(check_at=F('start_time'))",
        "rows.update(**{'worker': ''})",
        "columns.update(other)",
        "task.save(update_fields=['run_after'])",
        "class Task:\n    status: int = 0",
        "Event(status=20)",
        "setattr(task, 'worker', '')",
    ],
)
def test_a_read_is_no_write(code: str) -> None:
    assert not list(writes(ast.parse(code)))
