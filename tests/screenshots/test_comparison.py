"""What counts as a difference between a screenshot and the stored one."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.screenshots.comparison import compare, store

SIZE = (400, 240)


def draw(
    *, color: str = "#a41515", tint: str = "#f7e8e8", has_pill: bool = True, shift: int = 0
) -> Image.Image:
    """A picture with a tinted box, and a word in a pill; the word is shifted by 1/8 px."""
    picture = Image.new("RGB", (8 * SIZE[0], 8 * SIZE[1]), "white")
    drawing = ImageDraw.Draw(picture)
    drawing.rectangle((160, 160, 3039, 479), fill=tint)
    if has_pill:
        drawing.rounded_rectangle((240, 800, 720, 960), radius=80, fill="#eeeeee")
        drawing.text((300 + shift, 830), "failed", fill=color, font_size=96)
    return picture.reduce(8)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    file = tmp_path / "page.png"
    store(draw(), file)
    return file


def test_the_same_page_does_not_differ(stored) -> None:
    assert compare(draw(), stored) is None


def test_edges_of_letters_may_differ(stored) -> None:
    moved = draw(shift=1)

    assert moved.tobytes() != draw().tobytes()
    assert compare(moved, stored) is None


@pytest.mark.parametrize(
    "change", [{"has_pill": False}, {"color": "#1553a4"}, {"tint": "#e8f7e8"}], ids=str
)
def test_a_change_is_seen_and_marked(stored, change) -> None:
    difference = compare(draw(**change), stored)

    assert difference is not None
    assert "squares of 8 px differ" in difference.text
    assert difference.picture.getpixel((0, 0)) != (200, 0, 0)
    assert any(red > green for _, (red, green, _) in difference.picture.getcolors(100_000))


def test_another_size_is_seen(stored) -> None:
    difference = compare(draw().crop((0, 0, 400, 232)), stored)

    assert difference is not None
    assert difference.text == "it has 400x232 px, the stored one 400x240"


def test_a_page_that_is_not_stored_differs(tmp_path) -> None:
    difference = compare(draw(), tmp_path / "none.png")

    assert difference is not None
    assert difference.text == "it is not stored"
