"""The app ``orders``."""
