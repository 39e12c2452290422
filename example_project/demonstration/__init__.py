"""The demonstration: a story that ``demo.py`` tells and verifies."""
