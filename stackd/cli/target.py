"""Which cluster a command is about: the global options and the environment.

A local cluster is found by its data folder: `--data`, `STACKD_DATA`, else /var/lib/stackd. Loaded
by every command, so it needs nothing but the standard library.
"""

import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_DATA = Path("/var/lib/stackd")


@dataclass(frozen=True, slots=True)
class Target:
    """Set once from the global options."""

    data: Path
    context: str = ""

    @property
    def option(self) -> str:
        """` --data DIR` for commands that are printed for people; '' for the usual place."""
        return "" if self.data == DEFAULT_DATA else f" --data {self.data}"


def target(data: Path | None, context: str | None) -> Target:
    """The cluster meant by the options and the environment."""
    chosen = data or Path(os.environ.get("STACKD_DATA") or DEFAULT_DATA)
    return Target(chosen.resolve(), context or os.environ.get("STACKD_HOST", ""))
