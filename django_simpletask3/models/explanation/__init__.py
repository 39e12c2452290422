"""Why a task does not run now, as one sentence: ``task.explain()``."""
