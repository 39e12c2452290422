"""Huey by huey.contrib.djhuey: results in Redis."""
