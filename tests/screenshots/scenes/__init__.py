"""What the tables and Redis hold when the screenshots are taken."""

from tests.screenshots.scenes import empty, trouble, well

#: The scenes by name: functions that fill empty tables.
SCENES = {"well": well.fill, "trouble": trouble.fill, "empty": empty.fill}
