"""The row in which a project itself stores the state of a task."""
