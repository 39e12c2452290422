"""The unique keys of tasks: their values, the tasks that have them, and what conflicts lead to."""
