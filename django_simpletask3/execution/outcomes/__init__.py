"""What follows once a task function has ended."""
