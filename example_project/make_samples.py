"""Generate the sample pictures and files: ``python make_samples.py [FOLDER]``.

Each run generates the same files. The pictures are drawn by this script, so that no rights of
others apply to them.
"""

from __future__ import annotations

import csv
import random
import sys
from io import BytesIO, StringIO
from pathlib import Path

from PIL import Image
from sample_pictures import PICTURES

SAMPLES = Path(__file__).resolve().parent / "samples"
# Saved as cameras do: the pixels are rotated, and EXIF gives the orientation.
SIDEWAYS = {"lighthouse.jpg"}
CUT_OFF = "cut-off-upload.jpg"

HEADINGS = ("number", "ordered_on", "customer", "article", "quantity", "unit_price")
CUSTOMERS = (
    "Almond & Sons",
    "Bäckerei Österle",
    "Café Zéphyr",
    "北京书店",
    "Dell'Orto, Milano",
    "Frame Studio",
)
ARTICLES = {
    "Print 20 x 30 cm": "12.90",
    "Print 40 x 60 cm": "34.50",
    "Oak frame": "48.00",
    "Postcards, 50 pieces": "27.25",
    "Poster A1": "19.80",
}
BAD = {
    3: {"unit_price": "12,9o"},
    6: {"ordered_on": "2026-11-31"},
    7: {"customer": " "},
    11: {"quantity": "-2"},
    14: {"number": "N-2004"},  # a duplicate of an earlier line
    17: {"article": None},  # the cell is missing
}
NEWSLETTER = """\
email,subscribed
ada@example.org,2026-03-01
grace@example.org,2026-03-14
edsger@example.org,2026-04-02
"""


def jpeg(image: Image.Image, *, sideways: bool) -> bytes:
    """Encode the picture as a camera would."""
    content, exif = BytesIO(), Image.Exif()
    if sideways:
        image, exif[0x0112] = image.transpose(Image.Transpose.ROTATE_90), 6
    image.save(content, "JPEG", quality=72, optimize=True, exif=exif)
    return content.getvalue()


def png(image: Image.Image) -> bytes:
    content = BytesIO()
    image.quantize(32).save(content, "PNG", optimize=True)
    return content.getvalue()


def pictures() -> dict[str, bytes]:
    """The content of every picture by file name; one is truncated."""
    contents = {}
    for name, draw in PICTURES.items():
        image = draw(random.Random(name))
        contents[name] = (
            png(image) if name.endswith("png") else jpeg(image, sideways=name in SIDEWAYS)
        )
    whole = contents["sunrise.jpg"]
    return contents | {CUT_OFF: whole[: len(whole) // 2]}


def orders(month: str, prefix: str, count: int) -> list[dict[str, str | None]]:
    """``count`` orders of one month."""
    rng = random.Random(month)
    lines: list[dict[str, str | None]] = []
    for index in range(count):
        article = rng.choice(list(ARTICLES))
        day = 1 + index * 27 // count
        cells = (
            f"{prefix}-{2000 + index}",
            f"{month}-{day:02}",
            rng.choice(CUSTOMERS),
            article,
            str(rng.randint(1, 12)),
            ARTICLES[article],
        )
        lines.append(dict(zip(HEADINGS, cells, strict=True)))
    return lines


def csv_text(lines: list[dict[str, str | None]]) -> str:
    """Format the lines as CSV with headings; cells that are None are left out."""
    text = StringIO()
    rows = [HEADINGS, *([cell for cell in line.values() if cell is not None] for line in lines)]
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def files() -> dict[str, bytes]:
    """The content of every file of orders; one has bad lines, one has other columns."""
    with_bad_lines = [
        line | BAD.get(index, {}) for index, line in enumerate(orders("2026-11", "N", 20))
    ]
    texts = {
        "orders-2026-10.csv": csv_text(orders("2026-10", "O", 24)),
        "orders-2026-11-bad-lines.csv": csv_text(with_bad_lines),
        "orders-2026-12.csv": csv_text(orders("2026-12", "D", 9)),
        "newsletter.csv": NEWSLETTER,
    }
    return {name: text.encode() for name, text in texts.items()}


def main(folder: Path) -> None:
    for below, contents in (("pictures", pictures()), ("orders", files())):
        (folder / below).mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / below / name).write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES)
