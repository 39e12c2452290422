"""Enqueue tasks for the sample pictures and files, as a user would."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from django.core.files.base import ContentFile
from django.db import transaction
from orders.models import OrderImport
from pictures.models import ContactSheet, Picture

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
#: Tasks whose names start so are expected to fail. (A storage that already has a file of this name
#: gives the next one a longer name.)
FAILING = ("Cut off upload", "newsletter")


def upload_pictures() -> list[Picture]:
    """Upload every picture, which enqueues its thumbnail."""
    paths = sorted((SAMPLES / "pictures").iterdir())
    return [
        Picture.objects.create(title=_title(path), image=ContentFile(path.read_bytes(), path.name))
        for path in paths
    ]


def enqueue_contact_sheet(
    title: str, pictures: Sequence[Picture], *, pause: float = 0.0
) -> ContactSheet:
    """Enqueue a contact sheet of these pictures."""
    with transaction.atomic():
        sheet = ContactSheet.objects.enqueue(title=title, pause=pause)
        sheet.pictures.set(pictures)
    return sheet


def enqueue_order_imports(*names: str) -> list[OrderImport]:
    """Enqueue the import of these files of orders."""
    paths = [SAMPLES / "orders" / name for name in names]
    return OrderImport.objects.bulk_enqueue(
        {"file": ContentFile(path.read_bytes(), path.name)} for path in paths
    )


def _title(path: Path) -> str:
    return path.stem.replace("-", " ").capitalize()
