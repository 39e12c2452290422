"""Store files that tasks create."""

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage


def overwrite(name: str, content: bytes) -> str:
    """Store ``content`` as ``name``; return the name to keep in the row.

    Replaces an existing file: a task whose worker was lost runs again.
    """
    default_storage.delete(name)
    return default_storage.save(name, ContentFile(content))
