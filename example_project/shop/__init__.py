"""The example project: its settings, its addresses."""
