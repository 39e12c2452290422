"""The app ``billing``."""
