"""A project with connection pools that speaks to its databases as soon as it is loaded."""
