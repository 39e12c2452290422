"""The samples are what make_samples.py generates, and are small."""

from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.example.conftest import EXAMPLE, Run

SAMPLES = EXAMPLE / "samples"
CUT_OFF = "cut-off-upload.jpg"


@pytest.fixture(scope="module")
def generated(run_example: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with newly generated samples."""
    folder = tmp_path_factory.mktemp("samples")
    done = run_example(EXAMPLE / "make_samples.py", folder)
    assert done.returncode == 0, done.stderr
    return folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))


def test_the_script_generates_the_files_of_the_repository(generated: Path) -> None:
    assert names(generated) == names(SAMPLES)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("orders/*")), ids=lambda path: path.name)
def test_a_file_of_orders_is_the_same_again(generated: Path, path: Path) -> None:
    assert (generated / "orders" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(SAMPLES.glob("pictures/*")) if path.name != CUT_OFF],
    ids=lambda path: path.name,
)
def test_a_picture_looks_the_same_again(generated: Path, path: Path) -> None:
    # Other versions of Pillow encode the same picture as other bytes.
    with Image.open(path) as ours, Image.open(generated / "pictures" / path.name) as fresh:
        difference = ImageChops.difference(ours.convert("RGBA"), fresh.convert("RGBA"))

    assert max(ImageStat.Stat(difference).mean) < 2


def test_the_cut_off_picture_begins_like_a_whole_one() -> None:
    with Image.open(SAMPLES / "pictures" / CUT_OFF) as picture:
        assert picture.size == (480, 320)
        with pytest.raises(OSError, match="truncated"):
            picture.load()


def test_all_samples_together_are_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*.*")) < 100_000
