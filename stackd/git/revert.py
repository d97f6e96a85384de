"""Makes the commit that undoes a refused one and pushes it to a branch of its own.

Called by `manager.reverts`. Everything happens with objects of the mirror: no work tree, no merge
driver, no hook. The same refusal gives the same commit, so that pushing it again changes nothing.
"""

from dataclasses import dataclass

from stackd.errors import Refused
from stackd.git.repo import GitRepo
from stackd.git.trees import CommitInfo, Objects

_WHO = "stackd <stackd@localhost>"
_HEADS = "refs/heads/"


@dataclass(frozen=True, slots=True)
class Undo:
    """What to undo: `commit`, back to its ancestor `good`, on top of `tip`, the newest commit of
    the branch `ref` that is followed ('' = HEAD). To `branch`, or to one that begins so."""

    commit: str
    good: str
    tip: str
    ref: str
    branch: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where the revert is now."""

    commit: str
    branch: str


async def push_revert(mirror: GitRepo, undo: Undo) -> Pushed:
    """Undo a commit on a branch. Raises Refused when it cannot be undone by itself or must not
    be, Unavailable when the remote is away."""
    followed = await mirror.followed(undo.ref)
    if followed == _HEADS + undo.branch:
        raise Refused(f"{undo.branch} is the branch that is followed.", "Name another branch.")
    commit = await _revert(mirror, undo)
    for branch in (undo.branch, f"{undo.branch}-{undo.commit[:12]}"):
        if await mirror.push(commit, branch):
            return Pushed(commit, branch)
    raise Refused(
        f"The branches {undo.branch} and {undo.branch}-{undo.commit[:12]} hold something else.",
        "Remove those that are no longer needed.",
    )


async def _revert(mirror: GitRepo, undo: Undo) -> str:
    if not await mirror.is_descendant(undo.tip, of=undo.commit):
        raise Refused(f"{undo.commit[:12]} is no longer on the branch.")
    info, tip = await mirror.read(lambda objects: _both(objects, undo))
    message = _message(undo, info)
    tree = await mirror.plumb("rev-parse", f"{undo.good}^{{tree}}")
    plain = await _commit(mirror, tree, undo.commit, (message, tip.at))
    if undo.tip == undo.commit:
        return plain
    merged = await mirror.merged(undo.tip, plain)
    if not merged:
        raise Refused(
            f"{undo.commit[:12]} cannot be undone by itself: later commits change the same lines.",
            "Revert it by hand.",
        )
    if merged == await mirror.plumb("rev-parse", f"{undo.tip}^{{tree}}"):
        raise Refused(f"{undo.commit[:12]} has been undone already.")
    return await _commit(mirror, merged, undo.tip, (message, tip.at))


def _both(objects: Objects, undo: Undo) -> tuple[CommitInfo, CommitInfo]:
    return objects.commit(undo.commit), objects.commit(undo.tip)


async def _commit(mirror: GitRepo, tree: str, parent: str, said: tuple[str, float]) -> str:
    message, at = said
    when = f"{int(at)} +0000"
    body = (
        f"tree {tree}\nparent {parent}\nauthor {_WHO} {when}\ncommitter {_WHO} {when}\n\n{message}"
    )
    return await mirror.plumb("hash-object", "-t", "commit", "-w", "--stdin", given=body.encode())


def _message(undo: Undo, info: CommitInfo) -> str:
    reason = " ".join(undo.reason.split())[:2000]
    return (
        f'Revert "{info.message}"\n\nThis reverts commit {undo.commit}.\n\n'
        f"stackd refused it: {reason}\n"
    )
