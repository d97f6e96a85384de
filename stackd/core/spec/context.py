"""What a caller of `loading` gives: files as bytes and everything around them.

The caller does all reading: the Git source from one commit, the command line from the disk.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

DOTENV = ".env"


class Origin(enum.StrEnum):
    """Where stack files come from: the two have different rules for what is not written down."""

    GIT = "git"
    CLI = "cli"


@dataclass(frozen=True)
class SourceFile:
    """A stack file. `name` is its path in the repository, or as given to `-f` (`-` = stdin)."""

    name: str
    text: bytes


@dataclass(frozen=True)
class Context:
    """Everything beside the stack files that decides what they mean.

    variables: `repo add --var` for Git, the caller's environment for the command line.
    files: contents by the names that `wanted_files` gave; `.env` stands beside the first file.
    folder: absolute path of the first file's folder (command line only): bind sources start there.
    """

    origin: Origin
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    files: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    name: str = ""
    """`--name`; empty = from the file."""
    root_name: str = ""
    """Name of a stack whose file says nothing, when no folder does either: the repository's name,
    or for the command line the name of the folder the file is in."""
    folder: str = ""
    lenient: bool = False
    """Keys of Compose that stackd cannot honour are warnings."""
