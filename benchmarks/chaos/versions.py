"""Which version of the code this process runs, and what differs between two: by the environment.

SIMPLETASK3_CHAOS_VERSION     1: the earlier version
SIMPLETASK3_CHAOS_VERSIONS    how many versions run (1)
SIMPLETASK3_CHAOS_SCHEDULES   anything: the models and functions have schedules
"""

import os

VERSION = int(os.environ.get("SIMPLETASK3_CHAOS_VERSION", "2"))
HAS_SCHEDULES = "SIMPLETASK3_CHAOS_SCHEDULES" in os.environ
_LIMITS = {1: 3, 2: 2}
#: How many tasks of a line run at once, by this version, and by any that runs.
LIMIT = _LIMITS[VERSION]
GREATEST_LIMIT = (
    max(_LIMITS.values()) if os.environ.get("SIMPLETASK3_CHAOS_VERSIONS") == "2" else LIMIT
)
