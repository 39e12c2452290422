"""What people are to be told of their tasks."""
