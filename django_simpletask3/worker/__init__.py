"""A node: a supervisor with child processes; in each, per task model, fetcher, bodies, finisher."""
