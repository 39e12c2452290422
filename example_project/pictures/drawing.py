"""Draw thumbnails and contact sheets with Pillow; independent of tasks and databases."""

from __future__ import annotations

from io import BytesIO
from typing import BinaryIO

from PIL import Image, ImageDraw, ImageFont, ImageOps

PAPER = (250, 249, 245)
INK = (52, 52, 56)
GREY = (214, 213, 208)
CELL = (180, 120)
GAP = 14
CAPTION = 20
HEADING = 40


def thumbnail(file: BinaryIO, edge: int) -> Image.Image:
    """Return the picture in ``file``, upright, on white, no side longer than ``edge``.

    Raises an error of Pillow (OSError or a subclass) if the file is not a complete picture.
    """
    return _fitted(file, (edge, edge))


def jpeg(image: Image.Image) -> bytes:
    """Encode ``image`` as JPEG."""
    content = BytesIO()
    image.save(content, "JPEG", quality=85, optimize=True)
    return content.getvalue()


class Sheet:
    """A contact sheet with a heading and cells for ``count`` pictures."""

    def __init__(self, heading: str, count: int, *, columns: int) -> None:
        rows = max(1, -(-count // columns))
        width = GAP + columns * (CELL[0] + GAP)
        height = HEADING + rows * (CELL[1] + CAPTION + GAP)
        self.image = Image.new("RGB", (width, height), PAPER)
        self.placed = 0
        self.unreadable: list[str] = []
        self._columns = columns
        self._draw = ImageDraw.Draw(self.image)
        self._draw.text((GAP, 10), heading, fill=INK, font=ImageFont.load_default(18))

    def add(self, file: BinaryIO, title: str) -> None:
        """Draw the picture in ``file`` in the next cell; a grey cell if it cannot be read."""
        left, top = self._corner(self.placed + len(self.unreadable))
        try:
            picture = _fitted(file, CELL)
        except (OSError, ValueError):
            self.unreadable.append(title)
            self._draw.rectangle((left, top, left + CELL[0], top + CELL[1]), fill=GREY)
        else:
            self.placed += 1
            indent = (CELL[0] - picture.width) // 2, (CELL[1] - picture.height) // 2
            self.image.paste(picture, (left + indent[0], top + indent[1]))
        below = (left + CELL[0] // 2, top + CELL[1] + 4)
        self._draw.text(below, title, fill=INK, font=ImageFont.load_default(12), anchor="ma")

    def _corner(self, index: int) -> tuple[int, int]:
        row, column = divmod(index, self._columns)
        return GAP + column * (CELL[0] + GAP), HEADING + row * (CELL[1] + CAPTION + GAP)


def _fitted(file: BinaryIO, size: tuple[int, int]) -> Image.Image:
    with Image.open(file) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGBA")
    picture.thumbnail(size)
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")
