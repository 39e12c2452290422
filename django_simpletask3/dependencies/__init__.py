"""Dependencies: tasks that wait until other tasks have ended."""
