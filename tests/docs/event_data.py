"""The keys of ``data`` and the reasons that the package writes into events, from its source."""

import ast
from collections.abc import Iterator

from tests.project.sources import Source, package_sources

#: The packages that build events.
WRITERS = (
    "context",
    "transitions",
    "execution",
    "recovery",
    "audit",
    "models",
    "dependencies",
    "running",
    "limits",
    "schema.inferred_events",
    "ledger.digests",
    "admin.actions",
    "worker",
)
#: What holds the data of an event there.
HOLDERS = {"data", "evidence", "outcome_data", "extra_data", "own_data", "salted"}
#: Functions that return such data, or a part of it.
RETURN_DATA = {"_payload_data", "_own_data", "_key_data", "_user_key", "_outcome_data", "_evidence"}
#: Functions whose further keyword arguments become data.
TAKE_DATA = {"recover_dead_workers"}


def data_keys() -> set[str]:
    """Every key that the package itself writes."""
    return {key for source in _writers() for key in _keys_in(source)}


def reasons() -> set[str]:
    """Every reason that the package itself gives to an event or a tombstone."""
    found: set[str] = set()
    for source in package_sources():
        if source.name.split(".")[0] == "queue":
            continue
        is_recovery = source.name.startswith("recovery.")
        constants = _constants(source)
        found |= {
            value
            for name, value in constants.items()
            if name in {"REASON", "LIMIT_REASON"} or (is_recovery and not name.startswith("_"))
        }
        for node in ast.walk(source.tree):
            found |= set(_reasons_of_call(node, constants)) if isinstance(node, ast.Call) else set()
    return found


def _reasons_of_call(node: ast.Call, constants: dict[str, str]) -> Iterator[str]:
    values = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
    if _name(node.func) in {"release", "return_messages"}:
        values += node.args
    for value in values:
        if isinstance(value, ast.Constant) and value.value:
            yield str(value.value)
        elif isinstance(value, ast.Name) and value.id in constants:
            yield constants[value.id]


def _writers() -> Iterator[Source]:
    for source in package_sources():
        if source.name != "execution.resolve" and any(
            f"{source.name}.".startswith(f"{name}.") for name in WRITERS
        ):
            yield source


def _keys_in(source: Source) -> Iterator[str]:
    constants = _constants(source)
    for holder in _dicts_and_keys(source.tree):
        keys = holder.keys if isinstance(holder, ast.Dict) else [holder]
        for key in keys:
            if isinstance(key, ast.Constant):
                yield str(key.value)
            elif isinstance(key, ast.Name) and key.id in constants:
                yield constants[key.id]


def _dicts_and_keys(tree: ast.AST) -> Iterator[ast.expr]:
    """The literals that hold data, and the keys that are assigned one by one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _of_call(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            yield from _of_assignment(node)
        elif isinstance(node, ast.FunctionDef) and node.name in RETURN_DATA:
            returns = [n.value for n in ast.walk(node) if isinstance(n, ast.Return) and n.value]
            yield from (part for value in returns for part in _literals(value))
        elif isinstance(node, ast.For) and _name(node.target) in HOLDERS:
            yield from _literals(node.iter)


def _of_call(node: ast.Call) -> Iterator[ast.expr]:
    for keyword in node.keywords:
        if keyword.arg in HOLDERS:
            yield from _literals(keyword.value)
        elif keyword.arg and keyword.arg != "reason" and _name(node.func) in TAKE_DATA:
            yield ast.Constant(keyword.arg)


def _of_assignment(node: ast.Assign | ast.AnnAssign) -> Iterator[ast.expr]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        elements = zip(
            target.elts if isinstance(target, ast.Tuple) else [target],
            node.value.elts
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            else [node.value],
            strict=False,
        )
        for element, value in elements:
            if _name(element) in HOLDERS and value is not None:
                yield from _literals(value)
            elif isinstance(element, ast.Subscript) and _name(element.value) in HOLDERS:
                yield element.slice


def _literals(value: ast.expr) -> Iterator[ast.expr]:
    """The dict literals that ``value`` may be, itself or in a condition or a union."""
    if isinstance(value, ast.Dict):
        yield value
        for key, part in zip(value.keys, value.values, strict=True):
            if key is None:
                yield from _literals(part)
    elif isinstance(value, ast.IfExp):
        yield from _literals(value.body)
        yield from _literals(value.orelse)
    elif isinstance(value, ast.Tuple):
        for part in value.elts:
            yield from _literals(part)


def _constants(source: Source) -> dict[str, str]:
    """The texts that stand under a name at the top of the module."""
    return {
        target.id: str(node.value.value)
        for node in source.tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def _name(node: ast.AST) -> str:
    """The last name of ``x`` or ``a.b.x``."""
    return getattr(node, "attr", "") or getattr(node, "id", "")
