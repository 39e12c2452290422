"""A picture, and the two kinds of work that can be done with pictures."""

from __future__ import annotations

import time
from typing import Any

from django.db import models, transaction
from django.utils.translation import gettext_lazy as _

from django_simpletask3.models import SimpleTask

from . import drawing
from .storage import overwrite


class Picture(models.Model):
    """A picture somebody has uploaded. Saving a new one asks for its thumbnail."""

    title = models.CharField(_("title"), max_length=100)
    image = models.ImageField(_("file"), upload_to="pictures")
    upload_time = models.DateTimeField(_("uploaded"), auto_now_add=True)

    class Meta:
        verbose_name = _("picture")
        verbose_name_plural = _("pictures")

    def __str__(self) -> str:
        return self.title

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a new picture and its thumbnail task are one transaction."""
        is_new = self._state.adding
        with transaction.atomic():
            super().save(*args, **kwargs)
            if is_new:
                self.thumbnails.create()


class Thumbnail(SimpleTask):
    """Makes a small version of one picture."""

    django_simpletask3_worker_number = 2

    picture = models.ForeignKey(
        Picture, on_delete=models.CASCADE, related_name="thumbnails", verbose_name=_("picture")
    )
    edge = models.PositiveSmallIntegerField(_("longest edge"), default=160)
    image = models.ImageField(_("thumbnail"), blank=True, editable=False)

    class Meta:
        verbose_name = _("thumbnail")
        verbose_name_plural = _("thumbnails")

    def __str__(self) -> str:
        return self.picture.title

    def do_task(self) -> dict[str, Any]:
        """The size of the thumbnail. A file that is no whole picture raises what Pillow raises."""
        with self.picture.image.open("rb") as file:
            small = drawing.thumbnail(file, self.edge)
        content = drawing.jpeg(small)
        # An own column: it is saved with the outcome, or not at all.
        self.image = overwrite(f"thumbnails/{self.pk}.jpg", content)
        return {"width": small.width, "height": small.height, "bytes": len(content)}


class ContactSheet(SimpleTask):
    """Puts several pictures on one sheet, with their titles below.

    Save one and choose its pictures in one transaction (the admin does): workers hear of the
    sheet when that is committed, so they find its pictures.
    """

    django_simpletask3_worker_number = 1

    title = models.CharField(_("title"), max_length=100)
    pictures = models.ManyToManyField(Picture, verbose_name=_("pictures"))
    columns = models.PositiveSmallIntegerField(_("columns"), default=3)
    pause = models.FloatField(
        _("pause"), default=0.0, help_text=_("Seconds of rest after each picture, to watch it.")
    )
    image = models.ImageField(_("sheet"), blank=True, editable=False)

    class Meta:
        verbose_name = _("contact sheet")
        verbose_name_plural = _("contact sheets")

    def __str__(self) -> str:
        return self.title

    def do_task(self) -> dict[str, Any] | None:
        """How many pictures are on the sheet, and the titles of those that could not be read.

        Raises ValueError if there is none to be seen.
        """
        pictures = list(self.pictures.order_by("pk"))
        sheet = drawing.Sheet(self.title, len(pictures), columns=max(1, self.columns))
        for number, picture in enumerate(pictures, start=1):
            # Somebody canceled or reset the sheet: what this run returns would be refused.
            if self.should_stop:
                return None
            with picture.image.open("rb") as file:
                sheet.add(file, picture.title)
            self.note(f"{number} of {len(pictures)} pictures placed")
            time.sleep(max(0.0, self.pause))
        if not sheet.placed:
            raise ValueError(f"There is no picture that could be put on {self.title!r}.")
        self.image = overwrite(f"sheets/{self.pk}.jpg", drawing.jpeg(sheet.image))
        return {"pictures": sheet.placed, "unreadable": sheet.unreadable}
