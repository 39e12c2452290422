"""The scenario that ``demo.py`` runs and verifies."""
