"""What is said of a commit to its forge, from where its stacks stand.

Called by `manager.commit_statuses`. A stack that has what the commit declares, and is healthy, is
done with it for good: what becomes of the stack later is no news about the commit.
"""

from collections.abc import Iterable

from stackd.core.model.record import Value
from stackd.core.model.release import Stack
from stackd.core.model.source import CommitState, RepositoryStatus
from stackd.core.model.world import World
from stackd.core.rollout.outcome import Code, Goal, outcome
from stackd.core.rollout.phase import stack_phase

_STATES = {
    Code.FAILED: CommitState.FAILURE,
    Code.SUPERSEDED: CommitState.SUPERSEDED,
    Code.PERSON: CommitState.PENDING,
    Code.NOT_YET: CommitState.PENDING,
    Code.DONE: CommitState.SUCCESS,
}
"""The worst first; what needs a person before what only takes time."""
_ORDER = list(_STATES)


class Said(Value, frozen=True, kw_only=True):
    """`kind` is the phase that the text tells of: another kind is worth saying again."""

    state: CommitState
    kind: str
    text: str


def of_stack(world: World, stack: str, commit: str, now: float) -> tuple[Code, Said]:
    """Where one stack stands with a commit of its repository."""
    found = outcome(world, Goal(stack, commit=commit), now)
    kind = stack_phase(world, stack, now)[0].value
    return found.code, Said(state=_STATES[found.code], kind=kind, text=found.text)


def joined(found: Iterable[tuple[Code, Said]], count: int) -> Said:
    """What is said of the commit, of `count` stacks of which `found` are those not done."""
    worst = min(found, key=lambda one: _ORDER.index(one[0]), default=None)
    if worst is None or worst[0] is Code.DONE:
        text = f"{count} stack{'' if count == 1 else 's'} as declared" if count else "no stacks"
        return Said(state=CommitState.SUCCESS, kind="healthy", text=text)
    return worst[1]


def of_repository(status: RepositoryStatus, commit: str) -> Said | None:
    """What holds whatever the stacks do: the commit has left the branch, or a file is refused."""
    if commit == status.waiting and status.approved != commit:
        text = f"waits for: stackd approve {status.name} {status.plan}"
        return Said(state=CommitState.PENDING, kind="approval", text=text)
    if commit != status.commit and commit not in (status.waiting, *status.ancestors):
        text = f"{(status.waiting or status.commit)[:12]} came instead"
        return Said(state=CommitState.SUPERSEDED, kind="gone", text=text)
    if commit == status.commit and status.problems:
        more = f" (and {len(status.problems) - 1} more)" if len(status.problems) > 1 else ""
        text = f"{status.problems[0]}{more}"
        return Said(state=CommitState.FAILURE, kind="invalid", text=text)
    return None


def owned(world: World, repository: str) -> list[str]:
    """The stacks of a repository."""
    owner = f"repo:{repository}"
    return [head.name for head in world.all(Stack) if head.owner == owner and not head.removing]
