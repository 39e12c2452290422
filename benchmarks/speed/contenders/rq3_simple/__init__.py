"""RQ by django-rq, with workers that do not fork."""
