"""RQ by django-rq: results in Redis, a pool of workers that fork for each job."""
