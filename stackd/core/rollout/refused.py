"""Which commits of a repository are refused, and what came before them.

Called by `manager.reverts`, and by `manager.repositories` for `repo ls`. A commit is refused when a
file of it is not valid, or when a revision that it declared is on hold while it is still declared.
"""

from collections.abc import Iterator

from stackd.core.model.record import Value
from stackd.core.model.release import Hold, Release, Stack
from stackd.core.model.source import RepositoryStatus, Revert
from stackd.core.model.world import World
from stackd.core.rollout import places


class RefusedCommit(Value, frozen=True, kw_only=True):
    """`good` is the newest commit before it that was processed. `object`: the stack, or the
    repository."""

    commit: str
    good: str
    reason: str
    object: str


def refused(world: World, repository: str) -> list[RefusedCommit]:
    """Every refused commit that is on the branch and has one before it, each once."""
    status = world.get(RepositoryStatus, repository)
    if status is None:
        return []
    found: dict[str, RefusedCommit] = {}
    for commit, reason, about in [*_held(world, repository), *_invalid(status)]:
        good = _before(status, commit)
        if good and commit not in found:
            found[commit] = RefusedCommit(commit=commit, good=good, reason=reason, object=about)
    return list(found.values())


def _held(world: World, repository: str) -> Iterator[tuple[str, str, str]]:
    for hold in world.all(Hold):
        head = world.get(Stack, hold.stack)
        if head is None or head.removing or head.owner != f"repo:{repository}":
            continue
        release = _introducing(world, hold)
        if release is not None and release.commit:
            yield release.commit, f"{hold.stack}/{hold.service}: {hold.reason}", hold.stack


def _introducing(world: World, hold: Hold) -> Release | None:
    """The release that declared the held revision first, in a row up to the newest one; none where
    to undo its commit would not bring what a stack that has gone back runs now."""
    found = None
    now = world.release(hold.stack)
    release = _declared_last(world, hold.stack)
    while release is not None:
        part = places.declared(release, hold.service)
        if part is None or part.revision != hold.revision:
            break
        found = release
        release = world.release(hold.stack, release.number - 1)
    if found is None or now is None or now.number >= found.number:
        return found
    before, runs = (
        part.revision if one is not None and (part := places.declared(one, hold.service)) else None
        for one in (release, now)
    )
    return found if before == runs else None


def _declared_last(world: World, stack: str) -> Release | None:
    """The current release, or the newest that a stack which has gone back has left."""
    head, now = world.get(Stack, stack), world.release(stack)
    if head is None or now is None or not head.back:
        return now
    return max((r for r in world.all(Release) if r.stack == stack), key=lambda r: r.number)


def _invalid(status: RepositoryStatus) -> Iterator[tuple[str, str, str]]:
    for path, commit in sorted(status.invalid.items()):
        said = [problem for problem in status.problems if problem.startswith(f"{path}:")]
        yield commit, said[0] if said else f"{path} is not valid", status.name


def _before(status: RepositoryStatus, commit: str) -> str:
    """The newest processed ancestor of a commit on the branch; '' when it is not there."""
    known = [status.commit, *status.ancestors]
    if not commit or commit not in known:
        return ""
    older = known[known.index(commit) + 1 :]
    return next((sha for sha in older if sha not in status.skipped), "")


def words(made: Revert) -> str:
    """What became of a refused commit, in a sentence."""
    what = f"commit {made.commit[:12]} is refused: {made.reason}"
    if made.problem:
        return f"{what}; no revert was pushed: {made.problem}"
    return f"{what}; its revert {made.revert[:12]} was pushed to the branch {made.branch}"
