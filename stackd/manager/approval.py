"""What waits for a person in a repository that was added with `--approve manual`.

Called by `manager.follow`: a new commit is planned, and deployed only once somebody has approved
the hash of that plan; each stack then only as it was planned. `manager.processing` plans with it.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from stackd.core.model.release import Stack
from stackd.core.plan.changes import describe
from stackd.errors import Refused, StackdError, Stale
from stackd.git.repo import GitRepo
from stackd.manager.noting import Noted
from stackd.manager.requests import Deploy, StackDeployer

UNPLANNED = "none"
"""In place of the hash of a plan that could not be made: such a stack is not deployed."""
AT_ONCE = 8
MOST_LINES, LONGEST_LINE = 200, 500
"""What is kept to be shown; `plan --repo` shows all."""


@dataclass(frozen=True, slots=True)
class Approvable:
    """The plan of a commit. `plans`: stack -> hash of its plan; `lines`: what would happen."""

    hash: str
    plans: Mapping[str, str]
    lines: tuple[str, ...]


async def approvable(
    deployer: StackDeployer, commit: str, requests: Iterable[Deploy], gone: Sequence[Stack]
) -> Approvable:
    """Plan each stack of a commit that may have changed, and the removal of those that are gone;
    nothing is written."""
    slots = asyncio.Semaphore(AT_ONCE)
    plans: dict[str, str] = {}
    lines: dict[str, str] = {}

    async def one(request: Deploy) -> None:
        name = request.spec.name
        async with slots:
            try:
                planned = await deployer.plan(request)
            except StackdError as error:
                plans[name], lines[name] = UNPLANNED, f"{name}: cannot be planned: {error.cause}"
                return
        plans[name] = planned.plan.hash
        words = [describe(name, change) for change in planned.plan.changes]
        said = [f"{found.text} ({found.effect})" for found in words]
        said += [*planned.infeasible, *planned.failed.values()]
        if said:
            lines[name] = f"{name}: {'; '.join(said)}"

    async with asyncio.TaskGroup() as group:
        for request in requests:
            group.create_task(one(request))
    lines |= {head.name: f"{head.name}: remove the stack" for head in gone}
    told = [(name, plans[name]) for name in sorted(plans) if name in lines]
    parts = [commit, told, sorted(head.name for head in gone)]
    digest = hashlib.sha256(b"stackd approval 1\n" + msgspec.json.encode(parts)).hexdigest()[:12]
    shown = [lines[name][:LONGEST_LINE] for name in sorted(lines)]
    if len(shown) > MOST_LINES:
        shown = [*shown[:MOST_LINES], f"and {len(shown) - MOST_LINES} stacks more"]
    return Approvable(digest, plans, tuple(shown))


class Gate:
    """Where commits of one repository wait. `plan` plans a commit as it would be deployed now."""

    def __init__(
        self, git: GitRepo, noted: Noted, plan: Callable[[str], Awaitable[Approvable]]
    ) -> None:
        self._git = git
        self._noted = noted
        self._plan = plan

    async def opens(self, commit: str, *, anew: bool) -> bool:
        """Have a commit wait, planned again if `anew`; True when there is nothing to approve."""
        status = self._noted.status()
        if status.waiting == commit and not anew:
            return False
        plan = await self._plan(commit)
        fields = {"plan": plan.hash, "planned": plan.lines, "plans": plan.plans}
        if not plan.lines:
            await self._noted.update(waiting="", approved=commit, **{**fields, "plan": ""})
            return True
        if status.waiting != commit:
            info = await self._git.read(lambda objects: objects.commit(commit))
            name = self._noted.name
            about = f"{name}: commit {commit[:12]} by {info.author}: {info.message}"
            text = f"{about}: waits for `stackd approve {name} {plan.hash}`"
            await self._noted.event("repository.waiting", text)
        await self._noted.update(waiting=commit, approved="", **fields)
        return False

    async def approve(self, plan: str, by: str) -> str:
        """Let the commit that waits go; returns it. Raises Refused when none does, or when the
        hash of its plan is not `plan` now."""
        status, name = self._noted.status(), self._noted.name
        commit = status.waiting
        if not commit or status.approved == commit:
            raise Refused(f"Nothing waits for approval in {name}.", "See: stackd repo ls")
        now = await self._plan(commit)
        if plan != now.hash:
            await self._noted.update(plan=now.hash, planned=now.lines, plans=now.plans)
            raise Stale(
                f"Plan {plan} is stale: that of commit {commit[:12]} is now {now.hash}.",
                f"Look at it: stackd plan --repo {name} --commit {commit[:12]}",
            )
        await self._noted.event("repository.approved", f"{name}: {commit[:12]} as {plan}", by=by)
        await self._noted.update(approved=commit)
        return commit
