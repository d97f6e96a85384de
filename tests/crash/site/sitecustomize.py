"""Imported by Python itself at the start of each process of a test cluster whose PYTHONPATH names
this folder; see `tests.crash.hook`."""

import os
from pathlib import Path

from tests.crash import hook

if hook.VARIABLE in os.environ:
    hook.activate(Path(os.environ[hook.VARIABLE]))
