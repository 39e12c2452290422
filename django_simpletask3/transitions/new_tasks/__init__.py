"""New rows and their first events."""
