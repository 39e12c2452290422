"""Compare a screenshot with the stored one, within a tolerance."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageChops

#: Pixels are compared by the means of squares, which edges of letters hardly move.
SQUARE = 8
#: By how much the mean of a square may differ, of 255, and how many squares may differ by more.
MAX_DIFFERENCE, MAX_SQUARES = 10, 4
_COLORS = 128


@dataclass(frozen=True)
class Difference:
    """In what two screenshots differ, and a picture that marks it."""

    text: str
    picture: Image.Image


def read(screenshot: bytes) -> Image.Image:
    return Image.open(BytesIO(screenshot)).convert("RGB")


def store(screenshot: Image.Image, file: Path) -> None:
    """Write ``screenshot`` as a small file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # Of all methods it is the one that keeps the colours of small icons.
    method, dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
    reduced = screenshot.quantize(_COLORS, method=method, dither=dither, kmeans=1)
    reduced.save(file, optimize=True)


def compare(screenshot: Image.Image, file: Path) -> Difference | None:
    """In what ``screenshot`` differs from the stored ``file``; None if in little or nothing."""
    if not file.exists():
        return Difference("it is not stored", screenshot)
    with Image.open(file) as opened:
        stored = opened.convert("RGB")
    if stored.size != screenshot.size:
        sizes = ["x".join(map(str, picture.size)) for picture in (screenshot, stored)]
        return Difference("it has {} px, the stored one {}".format(*sizes), screenshot)
    marks = _differing_squares(stored, screenshot)
    count = marks.histogram()[255]
    if count <= MAX_SQUARES:
        return None
    return Difference(f"{count} squares of {SQUARE} px differ", _mark(screenshot, marks))


def _differing_squares(one: Image.Image, other: Image.Image) -> Image.Image:
    """A pixel for each square, white if it differs."""
    difference = ImageChops.difference(one.reduce(SQUARE), other.reduce(SQUARE))
    red, green, blue = difference.split()
    most = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    return most.point([255 * (value > MAX_DIFFERENCE) for value in range(256)])


def _mark(screenshot: Image.Image, marks: Image.Image) -> Image.Image:
    """``screenshot`` in pale grey, with the squares of ``marks`` in red."""
    large = marks.resize((marks.width * SQUARE, marks.height * SQUARE), Image.Resampling.NEAREST)
    mask = large.crop((0, 0, *screenshot.size))
    pale = Image.blend(screenshot.convert("L"), Image.new("L", screenshot.size, 255), 0.6)
    marked = pale.convert("RGB")
    marked.paste((200, 0, 0), mask=mask.point([value // 2 for value in range(256)]))
    return marked
