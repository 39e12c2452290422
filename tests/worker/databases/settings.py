"""The tests' settings with one more database, ``sick``, which the environment names."""

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

DATABASES["sick"] = json.loads(os.environ["SIMPLETASK3_SICK_DATABASE"])
