"""The queue of a project without Redis."""
