"""Whether what somebody waits for has come, failed, needs a person or was superseded.

Called by the `wait` request and everything with `--wait`; codes are exit codes.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from stackd.core.model.ids import service_key
from stackd.core.model.release import Hold, Release, Stack
from stackd.core.model.rollout import Phase, RolloutPhase, ServiceState
from stackd.core.model.source import RepositoryStatus
from stackd.core.model.world import World
from stackd.core.rollout import depends, freezing, places
from stackd.core.rollout.phase import service_names, service_phase


class Code(enum.IntEnum):
    """Exit codes of `wait`; NOT_YET is none."""

    NOT_YET = -1
    DONE = 0
    FAILED = 2
    PERSON = 3
    SUPERSEDED = 5


@dataclass(frozen=True)
class Goal:
    """What is waited for; at most one of release, revision, commit."""

    stack: str
    service: str = ""
    release: int = 0
    revision: str = ""
    commit: str = ""


@dataclass(frozen=True)
class Outcome:
    """Where it stands, in a code and a sentence."""

    code: Code
    text: str


def outcome(world: World, goal: Goal, now: float) -> Outcome:
    """Where the wait for `goal` stands."""
    head = world.get(Stack, goal.stack)
    if goal.commit:
        moved = _commit(world, head, goal)
    elif head is None:
        moved = Outcome(Code.NOT_YET, f"stack {goal.stack} is not known yet")
    elif head.removing:
        moved = Outcome(Code.SUPERSEDED, f"stack {goal.stack} is being removed")
    elif goal.revision:
        moved = _revision(world, goal)
    else:
        moved = _release(world, head, goal)
    return moved or _services(world, goal, now)


def gone(world: World, stack: str) -> Outcome:
    """Whether a stack that is being removed has gone."""
    head = world.get(Stack, stack)
    if head is None or not head.removing:  # declared again since
        return Outcome(Code.DONE, f"stack {stack} is removed")
    left = sum(view.live for view in world.tasks_of_stack(stack))
    return Outcome(Code.NOT_YET, f"{left} tasks left")


def _release(world: World, head: Stack, goal: Goal) -> Outcome | None:
    then = world.release(goal.stack, goal.release) if goal.release else None
    if goal.release > head.release and then is None:
        return Outcome(Code.NOT_YET, f"release {goal.release} is not declared yet")
    if goal.release and goal.release != head.release:
        return _same(world.release(goal.stack), then, goal, f"release {goal.release}")
    return None


def _same(now: Release | None, then: Release | None, goal: Goal, what: str) -> Outcome | None:
    """None when what is declared now is what `then` declared."""
    superseded = f"{what} was superseded by release {now.number}" if now else f"{what} has gone"
    if now is None or then is None:
        return Outcome(Code.SUPERSEDED, superseded)
    back = then.number > now.number
    if goal.service:
        equal = now.services.get(goal.service) == then.services.get(goal.service)
    else:
        equal = now.content_hash == then.content_hash and now.services == then.services
    if equal:
        return None
    if back:
        return Outcome(Code.FAILED, f"{what} was rolled back to release {now.number}")
    return Outcome(Code.SUPERSEDED, superseded)


def _revision(world: World, goal: Goal) -> Outcome | None:
    release = world.release(goal.stack)
    declared = places.declared(release, goal.service)
    state = places.state_of(world, service_key(goal.stack, goal.service))
    hold = world.get(Hold, f"{goal.stack}/{goal.service}/{goal.revision}")
    rollout = state.rollout if state else None
    if rollout and rollout.target == goal.revision and rollout.phase is RolloutPhase.ROLLING_BACK:
        return Outcome(Code.NOT_YET, rollout.reason)
    if hold is not None:
        return Outcome(Code.FAILED, f"{goal.revision} refused: {hold.reason}")
    wanted = {declared.revision if declared else "", rollout.target if rollout else ""}
    if goal.revision in wanted or (state and state.stable == goal.revision):
        return None
    other = declared.revision if declared else "nothing"
    return Outcome(Code.SUPERSEDED, f"{other} is declared now, not {goal.revision}")


def _commit(world: World, head: Stack | None, goal: Goal) -> Outcome | None:
    for found in world.all(RepositoryStatus):
        mine = head is None or head.owner == f"repo:{found.name}"
        if mine and found.waiting.startswith(goal.commit) and found.waiting != found.approved:
            asked = f"stackd approve {found.name} {found.plan}"
            return Outcome(Code.PERSON, f"commit {goal.commit} waits for approval: {asked}")
    if head is None:
        return _unknown(world, goal, f"stack {goal.stack} is not known yet")
    unseen = f"commit {goal.commit} has not been processed yet"
    if head.owner != "cli" and not head.seen_commit:
        return Outcome(Code.NOT_YET, unseen)
    status = world.get(RepositoryStatus, head.owner.removeprefix("repo:"))
    processed = _processed(status, head)
    at = next((i for i, sha in enumerate(processed) if sha.startswith(goal.commit)), None)
    commit = goal.commit if at is None else processed[at]
    if status is not None and at is not None and commit in status.skipped:
        if goal.stack in status.skipped[commit]:
            text = f"commit {goal.commit} was superseded by {processed[0][:12]}"
            return Outcome(Code.SUPERSEDED, text)
        at = next((i for i in range(at, -1, -1) if processed[i] not in status.skipped), at)
        commit = processed[at]
    releases = sorted(
        (r for r in world.all(Release) if r.stack == goal.stack), key=lambda r: -r.number
    )
    direct = next((r for r in releases if r.commit.startswith(commit)), None)
    if at is None and direct is None:
        return _unknown(world, goal, unseen)
    if head.problem and at is not None and commit in _refused(processed, head):
        return Outcome(Code.FAILED, f"commit {goal.commit} was not deployed: {head.problem}")
    then = direct or _in_effect(releases, processed[at:] if at is not None else ())
    if then is None or then.number == head.release or commit == head.commit:
        return None
    return _same(world.release(goal.stack), then, goal, f"commit {goal.commit}")


def _unknown(world: World, goal: Goal, unseen: str) -> Outcome:
    """No repository has deployed the stack at that commit: not yet, or it was refused."""
    for status in world.all(RepositoryStatus):
        commits = (status.commit, *status.ancestors)
        paths = [path for path, name in status.files.items() if name == goal.stack]
        if paths and any(sha.startswith(goal.commit) for sha in commits):
            why = [p for p in status.problems if p.startswith(tuple(paths))]
            text = f"commit {goal.commit} was not deployed: {'; '.join(why) or 'see repo ls'}"
            return Outcome(Code.FAILED, text)
    return Outcome(Code.NOT_YET, unseen)


def _refused(processed: Sequence[str], head: Stack) -> Sequence[str]:
    """The newest commits in a row that were not deployed."""
    if head.problem_since in processed:
        return processed[: processed.index(head.problem_since) + 1]
    return [head.seen_commit]


def _processed(status: RepositoryStatus | None, head: Stack) -> list[str]:
    """Commits that the owner has processed for this stack, newest first."""
    known = [status.commit, *status.ancestors] if status else []
    if head.seen_commit and head.seen_commit in known:
        known = known[known.index(head.seen_commit) :]
    elif head.seen_commit:
        known = [head.seen_commit, *known]
    return [sha for sha in known if sha]


def _in_effect(releases: Sequence[Release], older: Sequence[str]) -> Release | None:
    """The release that was declared when a commit was processed that made none itself."""
    for sha in older:
        found = next((r for r in releases if r.commit == sha), None)
        if found is not None:
            return found
    return None


def _services(world: World, goal: Goal, now: float) -> Outcome:
    names = [goal.service] if goal.service else service_names(world, goal.stack)
    found = [_service(world, goal, name, now) for name in names]
    for code in (Code.FAILED, Code.NOT_YET, Code.PERSON):
        first = next((o for o in found if o.code is code), None)
        if first is not None:
            return first
    return Outcome(Code.DONE, "; ".join(o.text for o in found) or "it has no services")


def _service(world: World, goal: Goal, name: str, now: float) -> Outcome:
    phase, reason = service_phase(world, goal.stack, name, now)
    text = f"{goal.stack}/{name} is {phase.value}: {reason}"
    state = places.state_of(world, service_key(goal.stack, name))
    match phase:
        case Phase.HEALTHY:
            return Outcome(Code.DONE, text)
        case Phase.ABORTED:
            same = goal.revision and state and state.stable == goal.revision
            return Outcome(Code.DONE if same else Code.FAILED, text)
        case Phase.PAUSED:
            return Outcome(Code.PERSON, text)
        case Phase.DEGRADED:
            failed = state is not None and (state.stable is None or _held(world, state))
            return Outcome(Code.FAILED if failed else Code.NOT_YET, text)
        case Phase.PENDING:
            release = world.release(goal.stack)
            spec = world.declared(goal.stack, name)
            gate = depends.gate(world, release, spec, now) if release and spec else None
            if freezing.holding(world, goal.stack, now) is not None:
                return Outcome(Code.PERSON, text)
            blocked = gate is not None and gate.failed
            return Outcome(Code.FAILED if blocked else Code.NOT_YET, text)
        case Phase.PROGRESSING | Phase.ROLLING_BACK:
            return Outcome(Code.NOT_YET, text)


def _held(world: World, state: ServiceState) -> bool:
    release = world.release(state.stack)
    declared = places.declared(release, state.service)
    key = f"{state.key}/{declared.revision}" if declared else ""
    return declared is not None and world.get(Hold, key) is not None
