"""Files that the admin hands over."""

from __future__ import annotations

import io
import tempfile
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from django.http import FileResponse

from django_simpletask3.bundles import Writer
from django_simpletask3.events import home_of, root_of


def streams(tasks: list[Any]) -> FileResponse:
    """The whole streams of ``tasks``, of one table, as a bundle that ``--verify`` proves."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the response closes it
    text = io.TextIOWrapper(file, encoding="utf-8", write_through=True)
    writer = Writer(text)
    for using, found in groupby(sorted(tasks, key=home_of), home_of):
        together = list(found)
        writer.tasks(root_of(type(together[0])), using, [task.pk for task in together])
    writer.close()
    text.detach()
    file.seek(0)
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"{tasks[0]._meta.model_name}-streams-{moment}.jsonl"
    return FileResponse(
        file, as_attachment=True, filename=name, content_type="application/x-ndjson"
    )
