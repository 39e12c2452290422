"""The row that a project writes by hand to know what became of a task."""
