"""Orders that come in files."""
