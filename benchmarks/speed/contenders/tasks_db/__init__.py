"""django-tasks-db: the database is the queue."""
