"""A project in which other packages note who did something."""
