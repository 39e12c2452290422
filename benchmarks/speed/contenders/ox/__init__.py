"""django-ox: the database is the queue."""
