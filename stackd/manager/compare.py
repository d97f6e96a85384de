"""`diff --base --head`: two commits of a repository, read and compared.

Called by the command line for a clone, and by the control API for a repository that is followed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stackd.core.model.api import CompareAnswer
from stackd.core.model.source import Repository
from stackd.core.plan.compare import Declared, compare
from stackd.errors import Refused
from stackd.git.trees import Objects
from stackd.manager.declared import Reader, StackFile


@dataclass(frozen=True, slots=True)
class Ends:
    """Two commits; `common` is the newest that both build on, '' when it is not known."""

    base: str
    head: str
    common: str


def compared(repository: Repository, objects: Objects, ends: Ends) -> CompareAnswer:
    """What the head declares otherwise than what both have in common. Raises Refused when the
    head has no such folder."""
    start = ends.common or ends.base
    try:
        before: Mapping[str, StackFile] = Reader(repository).read(objects, start)
    except Refused:  # the folder was not there yet
        before = {}
    after = Reader(repository).read(objects, ends.head)
    readable = _readable(after)
    unread = {file.name for file in after.values()} - readable.keys()
    notes = [
        f"{file.path} is not valid at the base." for file in before.values() if not file.bundle
    ]
    if not ends.common:
        notes.append("The two have no commit in common here: compared with the base itself.")
    return CompareAnswer(
        base=start,
        head=ends.head,
        stacks=compare(_readable(before), readable, frozenset(unread)),
        problems=tuple(
            str(problem) for file in after.values() for problem in file.problems
            if not problem.warning
        ),
        notes=tuple(notes),
    )  # fmt: skip


def _readable(files: Mapping[str, StackFile]) -> dict[str, Declared]:
    return {
        file.name: Declared(spec=file.bundle.spec, contents=file.bundle.contents)
        for file in files.values()
        if file.bundle is not None
    }
