"""A node: a supervisor and its processes; each runs a pipeline of threads per task model."""
