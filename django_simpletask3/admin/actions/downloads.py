"""Files to download from the admin."""

from __future__ import annotations

import io
import tempfile
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter

from django.http import FileResponse

from ...audit.export import ExportWriter
from ...ledger.task_row import table_model
from ...models.task import SimpleTask


def download_streams(model: type[SimpleTask], tasks: list[tuple[str, object]]) -> FileResponse:
    """Return the complete streams of ``tasks``, given by database and key, as an export file.

    The audit command verifies it with ``--verify``.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the response closes it
    text = io.TextIOWrapper(file, encoding="utf-8", write_through=True)
    writer = ExportWriter(text)
    database = itemgetter(0)
    for using, group in groupby(sorted(tasks, key=database), database):
        writer.write_tasks(table_model(model), using, [pk for _using, pk in group])
    writer.close()
    text.detach()
    file.seek(0)
    timestamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"{model._meta.model_name}-streams-{timestamp}.jsonl"
    return FileResponse(
        file, as_attachment=True, filename=name, content_type="application/x-ndjson"
    )
