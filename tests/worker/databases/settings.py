"""The tests' settings with one more database, ``sick``, or another one in the place of an alias."""

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

ALIAS = os.environ.get("SIMPLETASK3_SICK_ALIAS", "sick")
DATABASES[ALIAS] = json.loads(os.environ["SIMPLETASK3_SICK_DATABASE"])
