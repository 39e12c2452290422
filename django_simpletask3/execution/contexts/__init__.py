"""What is around a task function while it runs: the context of its task, and middleware."""
