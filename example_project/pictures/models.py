"""Pictures, and the two kinds of tasks that process them."""

from __future__ import annotations

import time
from typing import Any

from django.db import models, transaction
from django.utils.translation import gettext_lazy as _

from django_simpletask3.models import SimpleTask

from . import drawing
from .storage import overwrite


class Picture(models.Model):
    """An uploaded picture; saving a new one enqueues its thumbnail."""

    title = models.CharField(_("title"), max_length=100)
    image = models.ImageField(_("file"), upload_to="pictures")
    upload_time = models.DateTimeField(_("uploaded"), auto_now_add=True)

    class Meta:
        verbose_name = _("picture")
        verbose_name_plural = _("pictures")

    def __str__(self) -> str:
        return self.title

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save a new picture and its thumbnail task in one transaction."""
        is_new = self._state.adding
        with transaction.atomic():
            super().save(*args, **kwargs)
            if is_new:
                self.thumbnails.create()


class Thumbnail(SimpleTask):
    """Draws a small version of one picture."""

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
        """Draw the thumbnail; return its size. Raises an error of Pillow for a broken file."""
        with self.picture.image.open("rb") as file:
            small = drawing.thumbnail(file, self.edge)
        content = drawing.jpeg(small)
        # A column of this model: it is saved together with the outcome, or not at all.
        self.image = overwrite(f"thumbnails/{self.pk}.jpg", content)
        return {"width": small.width, "height": small.height, "bytes": len(content)}


class ContactSheet(SimpleTask):
    """Draws several pictures with their titles on one sheet.

    Create a sheet and set its pictures in one transaction, as the admin does: the task is pushed
    to the workers after the commit, so that they find its pictures.
    """

    django_simpletask3_worker_number = 1

    title = models.CharField(_("title"), max_length=100)
    pictures = models.ManyToManyField(Picture, verbose_name=_("pictures"))
    columns = models.PositiveSmallIntegerField(_("columns"), default=3)
    pause = models.FloatField(
        _("pause"),
        default=0.0,
        help_text=_("Seconds to pause after each picture, to make the task slow."),
    )
    image = models.ImageField(_("sheet"), blank=True, editable=False)

    class Meta:
        verbose_name = _("contact sheet")
        verbose_name_plural = _("contact sheets")

    def __str__(self) -> str:
        return self.title

    def do_task(self) -> dict[str, Any] | None:
        """Draw the sheet; return the number of pictures and the titles of unreadable ones.

        Raises ValueError if no picture can be read.
        """
        pictures = list(self.pictures.order_by("pk"))
        sheet = drawing.Sheet(self.title, len(pictures), columns=max(1, self.columns))
        for number, picture in enumerate(pictures, start=1):
            # A user canceled or reset the task, so its outcome would be rejected.
            if self.should_stop:
                return None
            with picture.image.open("rb") as file:
                sheet.add(file, picture.title)
            self.note(f"{number} of {len(pictures)} pictures placed")
            time.sleep(max(0.0, self.pause))
        if not sheet.placed:
            raise ValueError(f"There is no picture that can be read for {self.title!r}.")
        self.image = overwrite(f"sheets/{self.pk}.jpg", drawing.jpeg(sheet.image))
        return {"pictures": sheet.placed, "unreadable": sheet.unreadable}
