"""Files that a task makes."""

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage


def overwrite(name: str, content: bytes) -> str:
    """Store ``content`` as ``name``; the name to keep in the row.

    A task may run again after its worker was lost: what the lost run left behind is replaced.
    """
    default_storage.delete(name)
    return default_storage.save(name, ContentFile(content))
