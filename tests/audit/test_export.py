"""An export can be verified without a database."""

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError
from django.db import models

from django_simpletask3.audit.export import export_streams
from django_simpletask3.audit.verify import Flaw, Manifest, verify_export
from django_simpletask3.ledger.digests import erase_payload
from django_simpletask3.states import EventKind, Status
from tests.steps import apply_kinds, bring_to, create_task, run_command
from tests.testapp.models import Elsewhere, Invoice, Keyworded, TextKeyed

pytestmark = pytest.mark.django_db

ERROR = {"type": "ValueError", "message": "no", "traceback": "..."}
#: What is said of a value that is 900 levels deep: how deep Python can go depends on its version,
#: and on what called it.
TOO_DEEP = "not an event|#5 digest"


def bundle(*tables: Any, **asked: Any) -> tuple[list[str], Manifest]:
    file = StringIO()
    manifest = export_streams(file, tables or [(Invoice, "default")], **asked)
    return file.getvalue().splitlines(keepends=True), manifest


def flaws(lines: list[str]) -> list[str]:
    return [one.detail for one in verify_export(lines) if isinstance(one, Flaw)]


def lived() -> Any:
    task = apply_kinds(create_task(Invoice), EventKind.START)
    apply_kinds(task, EventKind.RETRY, error_data=ERROR, data={"traceback": "..."})
    apply_kinds(task, EventKind.START)
    task.note("nü", moment=task.start_time, parts={1, 2}, odd={3: "three"})
    return apply_kinds(task, EventKind.ACK, result="OK")


def test_an_export_is_verified() -> None:
    tasks = [lived(), bring_to(create_task(Invoice), Status.CANCELED)]
    bring_to(create_task(Invoice), Status.SUCCESS).delete()

    lines, manifest = bundle()

    results = list(verify_export(lines))
    assert results == [manifest]
    assert (manifest.streams, manifest.events) == (3, 6 + 2 + 4)
    assert len(lines) == 1 + manifest.events + manifest.streams + 1
    assert {json.loads(line).get("task") for line in lines[1:-1]} >= {str(t.pk) for t in tasks}


def test_an_erased_payload_does_not_break_the_proof() -> None:
    task = lived()
    retry = task.events.get(kind=EventKind.RETRY)
    models.QuerySet(task.event_model).filter(pk=retry.pk).update(data=erase_payload(retry.data))
    apply_kinds(task, EventKind.ERASE)

    lines, _ = bundle()

    assert flaws(lines) == []
    assert "no" not in json.loads(lines[3])["data"]["error"].values()


def test_a_stream_that_was_broken_before_is_reported() -> None:
    task = lived()
    models.QuerySet(task.event_model).filter(task=task.pk, sequence=5).update(reason="because")

    lines, _ = bundle()

    assert flaws(lines) == ["#5 digest: the note was changed"]


def changed(number: int, **words: Any) -> Callable[[list[str]], list[str]]:
    def change(lines: list[str]) -> list[str]:
        line = json.dumps({**json.loads(lines[number]), **words}, separators=(",", ":"))
        return [*lines[:number], line + "\n", *lines[number + 1 :]]

    return change


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def resealed(lines: list[str]) -> list[str]:
    """``lines`` with a last line that fits, as a thorough attacker writes it."""
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    events = sum('"kind"' in line for line in lines)
    rows = sum('"row"' in line for line in lines)
    return [*lines, json.dumps({"streams": rows, "events": events, "digest": digest}) + "\n"]


@pytest.mark.parametrize(
    ("tamper", "word"),
    [
        pytest.param(changed(5, reason="because"), "#5 digest", id="changed event"),
        pytest.param(changed(5, data={"done": 1}), "#5 digest", id="changed data"),
        pytest.param(changed(5, task="77"), "#5 digest", id="another task"),
        pytest.param(lambda lines: lines[:5] + lines[6:], "gap", id="removed event"),
        pytest.param(lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]], "gap", id="swap"),
        pytest.param(lambda lines: [*lines[:6], lines[5], *lines[6:]], "gap", id="doubled event"),
        pytest.param(lambda lines: lines[:6] + lines[7:], "tail", id="last event"),
        pytest.param(changed(7, row=None), "orphan", id="row removed"),
        pytest.param(changed(5, event_time="noon"), "not an event", id="no time"),
        pytest.param(changed(5, sequence="five"), "not an event", id="no number"),
        pytest.param(changed(5, to_status=float("inf")), "not an event", id="no status"),
        pytest.param(lambda lines: [*lines[:5], "[" * 100_000], "not a line", id="too deep"),
        pytest.param(changed(5, attempt=None, kind=None), "#5 digest", id="nothing"),
        pytest.param(changed(7, row={"status": 20}), "not a row", id="half a row"),
        pytest.param(changed(7, row="gone"), "not a row", id="no row"),
        pytest.param(lambda lines: [*lines, lines[1]], "after the last line", id="appended"),
        pytest.param(lambda lines: lines[:-1], "was truncated", id="no end"),
        pytest.param(lambda lines: lines[:4], "was truncated", id="half"),
        pytest.param(lambda lines: [lines[0], lines[-1]], "the last line is", id="a whole stream"),
        pytest.param(lambda lines: lines[1:], "not a line of an export", id="no head"),
        pytest.param(lambda lines: ["hello\n"], "not a line of an export", id="something else"),
        pytest.param(lambda lines: [], "was truncated", id="empty"),
        pytest.param(changed(8, events=3), "the last line is", id="end"),
        pytest.param(lambda lines: resealed(lines[:7]), "before it is missing", id="no row line"),
        pytest.param(lambda lines: resealed(lines[:5]), "stream before it is missing", id="cut"),
        pytest.param(changed(7, task="77"), "ends another stream", id="row of another task"),
        pytest.param(changed(7, database="x"), "ends another stream", id="another database"),
        pytest.param(lambda lines: [lines[0], lines[7]], "ends another stream", id="row alone"),
        pytest.param(changed(5, data=nested(900)), TOO_DEEP, id="deep"),
        pytest.param(changed(5, worker=nested(900)), "#5 digest", id="deep worker"),
        pytest.param(changed(7, task=nested(900)), "ends another stream", id="deep task"),
        pytest.param(changed(8, streams=nested(900)), "the last line is", id="deep end"),
        pytest.param(changed(5, reason="x" * 2**21), "too long", id="long"),
    ],
)
def test_tampering_shows(tamper: Callable[[list[str]], list[str]], word: str) -> None:
    lived()
    lines, _ = bundle()

    found = flaws(tamper(lines))

    assert any(one in what for what in found for one in word.split("|")), found


def test_hostile_files_need_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "hostile.jsonl"
    event = '{"sequence":5,"kind":"' + "k" * 10_000 + '","task":"' + "\x1b[2J" * 500 + '"}\n'
    path.write_text("[[]," * 5_000_000 + "\n" + event.replace("\x1b", "\\u001b") * 2_000)

    tracemalloc.start()
    output, code = command("verify", path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert code == 1
    assert "too long" in output
    assert output.isascii()
    assert "\x1b" not in output
    assert peak < 60_000_000


def test_every_single_byte_counts() -> None:
    lived()
    lines, manifest = bundle()

    for number, line in enumerate(lines[:-1]):
        other = line.replace('"', "'", 1) if number % 2 else line.replace(":", ": ", 1)
        results = list(verify_export([*lines[:number], other, *lines[number + 1 :]]))
        assert results != [manifest]


def test_tasks_of_a_period_are_written_with_their_whole_streams() -> None:
    create_task(Invoice)
    task = create_task(Invoice)
    event = task.note("later")
    earlier = task.events.first().event_time

    _, since = bundle(since=event.event_time)
    _, until = bundle(until=earlier)

    assert (since.streams, since.events) == (1, 2)
    assert (until.streams, until.events) == (1, 1)


def test_streams_of_several_tables_and_databases_are_written() -> None:
    create_task(TextKeyed)
    create_task(Elsewhere)

    lines, manifest = bundle((TextKeyed, "default"), (Elsewhere, "other"), (Keyworded, "default"))

    assert manifest.streams == 2
    assert {json.loads(line).get("database") for line in lines[1:-1]} == {"default", "other"}
    assert flaws(lines) == []


command = partial(run_command, "django-simpletask3-audit")


def test_the_command_exports_and_verifies(tmp_path: Path, django_db_blocker: Any) -> None:
    task = lived()
    create_task(Invoice)
    path = tmp_path / "invoice.jsonl"

    output, _ = command("export", "--model", "testapp.Invoice", "--task", task.pk, "--output", path)
    with django_db_blocker.block():
        verified = command("verify", path)

    assert "1 stream, 6 events" in output
    assert verified[1] == 0
    digest = verified[0].splitlines()[-1].split()[-1]
    assert digest in output
    assert command("verify", path, "--digest", digest)[1] == 0
    assert command("verify", path, "--digest", "0" * 64)[1] == 1


def test_the_command_finds_a_changed_file(tmp_path: Path) -> None:
    lived()
    path = tmp_path / "all.jsonl"
    command("export", "--output", path)
    path.write_text(path.read_text().replace('"reason":""', '"reason":"x"', 1))

    output, code = command("verify", path)

    assert code == 1
    assert "line 8: testapp.Invoice" in output


def test_a_file_that_exists_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text("precious")

    with pytest.raises(CommandError, match="cannot be written"):
        command("export", "--output", path)

    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "--task", "1", "--output", "x"], "needs exactly one --model"),
        (["export", "--model", "testapp.Invoice", "--task", "x", "--output", "x"], "is not a key"),
        (["verify", "/nonexistent"], "cannot be read"),
    ],
)
def test_bad_input_gets_one_clear_error(words: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        command(*words)
