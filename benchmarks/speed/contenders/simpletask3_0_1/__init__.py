"""The former version of this package: django-simpletask3 0.1.3.

Commands begin in the root of the repository, where the package is that is being made; the one that
is installed comes first from here on.
"""

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[4])

sys.path[:] = [*(path for path in sys.path if path not in ("", _ROOT)), _ROOT]
