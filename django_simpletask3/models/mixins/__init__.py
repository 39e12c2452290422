"""Models to derive tasks from in the place of SimpleTask: each adds a column."""
