"""The admin of pictures, thumbnails and contact sheets."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from django_simpletask3.admin import SimpleTaskAdmin

from .models import ContactSheet, Picture, Thumbnail


def image_html(image: Any, height: int) -> str:
    """Render ``image`` for a list or a form; a hyphen if there is none."""
    if not image:
        return "-"
    return format_html('<img src="{}" alt="" style="max-height: {}px">', image.url, height)


@admin.register(Picture)
class PictureAdmin(admin.ModelAdmin):
    list_display = ("title", "small", "upload_time")
    search_fields = ("title",)

    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).prefetch_related("thumbnails")

    @admin.display(description=_("thumbnail"))
    def small(self, picture: Picture) -> str:
        images = [thumbnail.image for thumbnail in picture.thumbnails.all() if thumbnail.image]
        return image_html(images[-1] if images else None, 48)


@admin.register(Thumbnail)
class ThumbnailAdmin(SimpleTaskAdmin):
    list_display = (*SimpleTaskAdmin.list_display, "picture", "small")
    list_select_related = ("picture",)
    readonly_fields = (*SimpleTaskAdmin.readonly_fields, "preview")

    @admin.display(description=_("thumbnail"))
    def small(self, task: Thumbnail) -> str:
        return image_html(task.image, 48)

    @admin.display(description=_("thumbnail"))
    def preview(self, task: Thumbnail) -> str:
        return image_html(task.image, 160)


@admin.register(ContactSheet)
class ContactSheetAdmin(SimpleTaskAdmin):
    list_display = (*SimpleTaskAdmin.list_display, "title", "small")
    filter_horizontal = ("pictures",)
    readonly_fields = (*SimpleTaskAdmin.readonly_fields, "preview")

    @admin.display(description=_("sheet"))
    def small(self, task: ContactSheet) -> str:
        return image_html(task.image, 48)

    @admin.display(description=_("sheet"))
    def preview(self, task: ContactSheet) -> str:
        return image_html(task.image, 500)
