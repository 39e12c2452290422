"""A browser that draws the same on every machine: its fonts, its clock, no motion."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.browser.conftest import QUIET
from tests.conftest import missing

_FONTS = Path("/usr/share/fonts/truetype")
#: The only fonts of the browser: files, and the packages of Debian that have them.
FONTS = {
    _FONTS / "roboto/unhinted/RobotoTTF/Roboto-Regular.ttf": "fonts-roboto-unhinted",
    _FONTS / "dejavu/DejaVuSansMono.ttf": "fonts-dejavu-core",
    _FONTS / "wqy/wqy-zenhei.ttc": "fonts-wqy-zenhei",
}
_CONFIGURATION = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  {folders}
  <cachedir>{cache}</cachedir>
  {aliases}
  <match target="pattern">
    <edit name="family" mode="append_last"><string>Roboto</string></edit>
    <edit name="family" mode="append_last"><string>WenQuanYi Zen Hei</string></edit>
  </match>
  <match target="font">
    <edit name="hinting" mode="assign"><bool>false</bool></edit>
    <edit name="rgba" mode="assign"><const>none</const></edit>
  </match>
</fontconfig>
"""
_ALIAS = (
    '<match target="pattern"><test name="family"><string>{name}</string></test>'
    '<edit name="family" mode="assign" binding="strong"><string>{font}</string></edit></match>'
)
_FAMILIES = {
    "sans-serif": "Roboto",
    "system-ui": "Roboto",
    "monospace": "DejaVu Sans Mono",
}
_SAME_EVERYWHERE = [
    "--font-render-hinting=none",
    "--disable-lcd-text",
    "--disable-font-subpixel-positioning",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
]


@contextmanager
def launch(folder: Path) -> Iterator[Any]:
    """The browser within the block, with the fonts of ``FONTS``; ``folder`` is for its files."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        missing("chromium")
    if find_spec("playwright") is None:
        missing("playwright")
    for file, package in FONTS.items():
        if not file.exists():
            missing(f"{file.name}, of the package {package} of Debian")
    configuration = folder / "fonts.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            folders="".join(f"<dir>{file.parent}</dir>" for file in FONTS),
            cache=folder / "fonts",
            aliases="".join(_ALIAS.format(name=n, font=f) for n, f in _FAMILIES.items()),
        ),
        encoding="utf-8",
    )
    playwright = import_module("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=path,
            args=[*QUIET, *_SAME_EVERYWHERE],
            env={
                "FONTCONFIG_FILE": str(configuration),
                "HOME": str(folder),
                "PATH": "/usr/bin:/bin",
            },
        )
        yield browser
        browser.close()
