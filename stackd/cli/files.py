"""Reads stack files and what they refer to from the disk, for `apply`, `plan`, `diff`,
`validate`: the client renders, so that the manager never sees the caller's environment."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stackd.core import spec
from stackd.errors import InvalidSpec, Problem, Refused

LIMIT = 16 * 1024 * 1024
"""Bytes read of any one file; the parser has narrower limits of its own and says so."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller named: `-f` files, `--name`, `--lenient`."""

    files: Sequence[str]
    name: str = ""
    lenient: bool = False


def render(asked: Asked) -> spec.Bundle:
    """The stack that the files declare. Warnings go to standard error. Raises InvalidSpec with
    every problem, Refused when a file cannot be read or none is named."""
    if not asked.files:
        raise Refused("There is no stack file.", "Name one with -f FILE.")
    loaded = load(asked)
    for problem in loaded.problems:
        if problem.warning:
            print(problem, file=sys.stderr)
    if loaded.bundle is None:
        raise InvalidSpec(loaded.errors)
    return loaded.bundle


def load(asked: Asked) -> spec.Loaded:
    """As `render`, with problems as values. Raises Refused when a stack file cannot be read."""
    files = [spec.SourceFile(name, _read_named(name)) for name in asked.files]
    first = asked.files[0]
    folder = Path.cwd() if first == "-" else Path(first).absolute().parent
    context = spec.Context(
        origin=spec.Origin.CLI,
        variables=dict(os.environ),
        name=asked.name,
        root_name=folder.name,
        folder=str(folder),
        lenient=asked.lenient,
    )
    for _ in range(2):  # `.env` first: the names of the others may contain its variables
        wanted = spec.wanted_files(files, context)
        found = {name: data for name in wanted if (data := _read_beside(folder, name)) is not None}
        context = replace(context, files=found)
    return spec.load(files, context)


def _read_named(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read(LIMIT)
    try:
        with Path(name).open("rb") as file:
            return file.read(LIMIT)
    except OSError as error:
        raise Refused(f"{name} cannot be read: {error.strerror}.", "Name a stack file.") from error


def _read_beside(folder: Path, name: str) -> bytes | None:
    """None when it is not there: the parser tells where it was wanted."""
    try:
        with (folder / Path(name).expanduser()).open("rb") as file:
            return file.read(LIMIT)
    except OSError:
        return None


def stack_files(paths: Sequence[str]) -> list[str]:
    """Stack files among `paths`; folders are descended as in a repository."""
    found: list[str] = []
    for path in map(Path, paths):
        if path.is_dir():
            for place in sorted(path.rglob("*")):
                inner = place.relative_to(path).as_posix()
                if place.is_file() and spec.is_stack_file(inner):
                    found.append(str(place))
        else:
            found.append(str(path))
    return found


def problems_of(asked: Asked) -> tuple[Problem, ...]:
    """Every problem and warning of one stack."""
    try:
        return load(asked).problems
    except Refused as error:
        name = asked.files[0]  # a problem begins with it, and so does this cause
        return (Problem(name, 0, 0, error.cause.removeprefix(f"{name} ")),)
