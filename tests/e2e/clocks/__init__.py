"""Wall clocks of single processes that jump while the machine's own is never touched: the test
folder `site` is put in front of a cluster's Python path, and a file for each kind of process says
how far ahead its clock is."""

import os
from pathlib import Path

from tests.e2e.cluster import ROOT

SITE = Path(__file__).parent / "site"


class Clocks:
    """The clocks of a cluster that was started with `env`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def env(self) -> dict[str, str]:
        """What the cluster is started with."""
        path = f"{SITE}{os.pathsep}{ROOT}"
        return {"STACKD_TEST_CLOCKS": str(self._folder), "PYTHONPATH": path}

    def ahead(self, kind: str, seconds: float) -> None:
        """The clock of all processes of this kind (manager, agent) jumps."""
        (self._folder / kind).write_text(f"{seconds}")
