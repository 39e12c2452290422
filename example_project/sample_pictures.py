"""Draw the sample pictures, each with its own random number generator."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFilter

SIZE = WIDTH, HEIGHT = 480, 320

Colour = tuple[int, int, int]


def between(first: Colour, last: Colour, share: float) -> Colour:
    """The colour between two others; ``share`` is 0 for the first and 1 for the last."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, last, strict=True))


def draw_sky(top: Colour, bottom: Colour) -> Image.Image:
    """Create an image with a vertical colour gradient."""
    column = Image.new("RGB", (1, HEIGHT))
    for y in range(HEIGHT):
        column.putpixel((0, y), between(top, bottom, y / HEIGHT))
    return column.resize(SIZE)


def draw_hills(
    image: Image.Image, level: int, height: int, colour: Colour, rng: random.Random
) -> None:
    """Draw a ridge of hills from ``level`` down to the lower edge."""
    waves = [(rng.uniform(0.5, 4), rng.uniform(0, 6.3), rng.uniform(0.2, 1)) for _ in range(4)]
    points = [
        (x, level - height * sum(a * math.sin(f * x / 90 + p) for f, p, a in waves) / 2.5)
        for x in range(0, WIDTH + 4, 4)
    ]
    ImageDraw.Draw(image).polygon([(0, HEIGHT), *points, (WIDTH, HEIGHT)], fill=colour)


def draw_glow(image: Image.Image, centre: tuple[int, int], radius: int, colour: Colour) -> None:
    """Draw a disc with a blurred halo."""
    x, y = centre
    halo = Image.new("L", SIZE)
    ImageDraw.Draw(halo).ellipse(
        (x - 2 * radius, y - 2 * radius, x + 2 * radius, y + 2 * radius), 110
    )
    image.paste(Image.new("RGB", SIZE, colour), mask=halo.filter(ImageFilter.GaussianBlur(radius)))
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def sunrise(rng: random.Random) -> Image.Image:
    image = draw_sky((38, 58, 108), (250, 196, 132))
    draw_glow(image, (310, 190), 34, (255, 236, 190))
    for step in range(4):
        draw_hills(
            image, 200 + 30 * step, 34, between((150, 116, 140), (36, 38, 66), step / 3), rng
        )
    return image


def harbour(rng: random.Random) -> Image.Image:
    image = draw_sky((8, 14, 36), (38, 48, 88))
    draw = ImageDraw.Draw(image)
    draw_glow(image, (96, 62), 18, (240, 240, 222))
    for left in range(0, WIDTH, 40):
        top = rng.randint(90, 170)
        draw.rectangle((left, top, left + 38, 210), fill=(18, 22, 44))
        for window in range(12):
            x, y = left + 6 + window % 3 * 11, top + 8 + window // 3 * 15
            if rng.random() < 0.6 and y < 200:
                draw.rectangle((x, y, x + 4, y + 6), fill=(250, 214, 120))
    draw.rectangle((0, 210, WIDTH, HEIGHT), fill=(14, 26, 54))
    for _ in range(70):
        x, y = rng.randint(0, WIDTH), rng.randint(214, HEIGHT)
        draw.line((x, y, x + rng.randint(8, 30), y), fill=(120, 116, 96), width=1)
    return image


def mountains(rng: random.Random) -> Image.Image:
    image = draw_sky((96, 152, 208), (226, 238, 246))
    draw = ImageDraw.Draw(image)
    for peak, tip in ((90, 90), (230, 50), (370, 100)):
        draw.polygon([(peak - 150, 260), (peak, tip), (peak + 150, 260)], fill=(104, 116, 136))
        ragged = [(peak + side, tip + 46 + rng.randint(-10, 16)) for side in (30, 14, 0, -14, -30)]
        draw.polygon(
            [(peak - 34, tip + 39), (peak, tip), (peak + 34, tip + 39), *ragged], (248, 250, 252)
        )
    draw_hills(image, 256, 14, (70, 118, 84), rng)
    draw_hills(image, 286, 10, (48, 90, 64), rng)
    return image


def forest(rng: random.Random) -> Image.Image:
    image = draw_sky((196, 214, 206), (238, 240, 226))
    draw = ImageDraw.Draw(image)
    for row in range(4):
        colour = between((158, 186, 172), (22, 60, 46), row / 3)
        for _ in range(16):
            x, foot = rng.randint(-10, WIDTH + 10), 200 + 34 * row
            size = 50 + 16 * row + rng.randint(-8, 20)
            draw.polygon(
                [(x - size // 4, foot), (x, foot - size), (x + size // 4, foot)], fill=colour
            )
        draw.rectangle((0, 200 + 34 * row, WIDTH, HEIGHT), fill=colour)
    return image


def desert(rng: random.Random) -> Image.Image:
    image = draw_sky((64, 128, 190), (244, 222, 186))
    draw_glow(image, (380, 74), 26, (255, 248, 220))
    for step, colour in enumerate([(232, 186, 122), (214, 156, 94), (188, 124, 72)]):
        draw_hills(image, 214 + 36 * step, 26, colour, rng)
    return image


def balloons(rng: random.Random) -> Image.Image:
    image = draw_sky((120, 184, 232), (250, 236, 216))
    draw = ImageDraw.Draw(image)
    colours = [(214, 72, 64), (238, 170, 58), (72, 132, 190), (96, 160, 98), (150, 92, 164)]
    for index, colour in enumerate(colours):
        x, y, size = 60 + 90 * index, rng.randint(60, 180), rng.randint(26, 44)
        draw.line((x - size // 2, y + size // 2, x - 5, y + size + 22), fill=(90, 80, 70))
        draw.line((x + size // 2, y + size // 2, x + 5, y + size + 22), fill=(90, 80, 70))
        draw.ellipse((x - size, y - size, x + size, y + size), fill=colour)
        draw.ellipse(
            (x - size // 3, y - size, x + size // 3, y + size), between(colour, (255,) * 3, 0.35)
        )
        draw.rectangle((x - 7, y + size + 22, x + 7, y + size + 32), fill=(116, 84, 56))
    draw_hills(image, 300, 10, (112, 150, 96), rng)
    return image


def lighthouse(rng: random.Random) -> Image.Image:
    """A picture in portrait format."""
    image = draw_sky((88, 110, 150), (240, 200, 170))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 236, WIDTH, HEIGHT), fill=(48, 86, 116))
    for _ in range(60):
        x, y = rng.randint(0, WIDTH), rng.randint(240, HEIGHT)
        draw.line((x, y, x + rng.randint(6, 24), y), fill=(110, 146, 168))
    draw.polygon([(160, 262), (200, 214), (290, 214), (330, 262)], fill=(92, 82, 76))
    for band in range(5):
        y, narrow = 214 - 26 * band, 3 * band
        colour = (198, 60, 54) if band % 2 else (246, 244, 238)
        draw.polygon(
            [(222 + narrow, y), (268 - narrow, y), (265 - narrow, y - 26), (225 + narrow, y - 26)],
            colour,
        )
    draw.rectangle((236, 62, 254, 84), fill=(252, 226, 130))
    draw.polygon([(230, 62), (245, 44), (260, 62)], fill=(60, 54, 58))
    return image.crop((120, 0, 370, HEIGHT))


def logo(rng: random.Random) -> Image.Image:
    """A drawing with a transparent background."""
    image = Image.new("RGBA", (300, 300))
    draw = ImageDraw.Draw(image)
    for leaf in range(8):
        angle = leaf * math.pi / 4 + rng.uniform(-0.05, 0.05)
        x, y = 150 + 74 * math.cos(angle), 150 + 74 * math.sin(angle)
        draw.ellipse((x - 46, y - 46, x + 46, y + 46), fill=(46, 150 + 10 * leaf, 132, 150))
    draw.ellipse((112, 112, 188, 188), fill=(250, 244, 224, 255))
    return image


#: The function that draws each file.
PICTURES: dict[str, Callable[[random.Random], Image.Image]] = {
    "three-peaks.jpg": mountains,
    "balloons.jpg": balloons,
    "dunes.jpg": desert,
    "forest.jpg": forest,
    "harbour-at-night.jpg": harbour,
    "lighthouse.jpg": lighthouse,
    "logo.png": logo,
    "sunrise.jpg": sunrise,
}
