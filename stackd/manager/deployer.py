"""Makes a rendered stack the declared one: plans, checks, commits.

Called by the control API (`apply`, `plan`) and by the source loop. Planning is pure
(`core.plan`, `core.foresight`); what is committed here is the list that a plan prints.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from stackd.core.foresight.feasibility import infeasible, tight
from stackd.core.foresight.simulate import blocked, simulate
from stackd.core.model.api import SimulationAnswer
from stackd.core.model.event import Event
from stackd.core.model.record import Changes, Put
from stackd.core.model.release import ContentKind, Digest, Release, Stack
from stackd.core.model.stack import StackSpec
from stackd.core.plan import records
from stackd.core.plan.make import Declaration, Plan, make_plan
from stackd.core.rollout import freezing
from stackd.errors import Conflict, Refused, Stale, Unavailable, Unknown
from stackd.manager.contents import Contents, NewContent
from stackd.manager.digests import Digests, Resolver
from stackd.manager.loop import Context
from stackd.manager.requests import Deploy, Deployed, Planned


class Deployer:
    """Plans and deploys stacks, one at a time each."""

    def __init__(self, context: Context, contents: Contents, resolver: Resolver) -> None:
        self._context = context
        self._tables = context.tables
        self._contents = contents
        self._digests = Digests(context.tables, resolver)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def plan(self, request: Deploy, *, fetch: bool = False) -> Planned:
        """What would change; writes nothing. With `fetch` the images are made present, so that
        nodes can get them from the manager."""
        found = await self._digests.resolve(request.spec, pull=request.pull)
        if fetch:
            found = await self._digests.fetch(found)
        world, failed = self._tables.world, found.failed
        spec = _without(world.release(request.spec.name), request.spec, failed)
        images = {
            digest.service: self._digests.name(digest)
            for digest in found.digests
            if digest.service in spec.services
        }
        kept = world.release(spec.name)
        for name in failed:
            if kept and name in kept.services:
                images[name] = self._digests.recorded(spec.name, name)
        wanted = Declaration(
            spec=spec,
            images=images,
            versions=self._versions(request, spec),
            owner=request.owner,
            override=request.override,
        )
        plan = make_plan(self._tables.world, wanted)
        freezes = self._freezes(plan)
        problems = infeasible(self._tables.world, plan) if plan.changed else ()
        if not (problems or freezes) and tight(self._tables.world, plan):
            problems = await self._blocked(plan, found.digests)
        return Planned(plan, tuple(found.digests), problems, (*found.notes, *freezes), failed)

    async def _blocked(self, plan: Plan, digests: Sequence[Digest]) -> tuple[str, ...]:
        """What playing the rollouts shows to block them, beside the loop."""
        world, now = self._tables.world.copy(), self._context.clock.now()
        return await asyncio.to_thread(blocked, world, plan, digests, now)

    def _freezes(self, plan: Plan) -> list[str]:
        """A note on each freeze that a change of the stack meets."""
        standing = freezing.standing(self._tables.world, plan.stack, self._context.clock.now())
        found = [f"{plan.stack} is {freezing.words(one)}; rollouts wait." for one in standing]
        return found if plan.changed else []

    async def simulate(self, planned: Planned) -> SimulationAnswer:
        """The plan's rollouts, played in virtual time on what is known now, beside the loop."""
        world, now = self._tables.world.copy(), self._context.clock.now()
        return await asyncio.to_thread(
            simulate, world, planned.plan, planned.digests, planned.infeasible, now
        )

    async def deploy(self, request: Deploy) -> Deployed:
        """Make the stack declared. Raises Refused for a foreign owner, an infeasible plan or a
        stale plan hash, Unavailable when nothing could be resolved."""
        async with self._locks[request.spec.name]:
            for _ in range(5):
                try:
                    return await self._deploy(request)
                except Conflict:
                    continue
        raise Conflict(f"{request.spec.name} is changing too fast.", "Try again.")

    async def _deploy(self, request: Deploy) -> Deployed:
        planned = await self.plan(request, fetch=True)
        plan = planned.plan
        if planned.failed and not plan.services:
            raise Unavailable("; ".join(planned.failed.values()), "Check the image and registry.")
        if request.plan_hash and request.plan_hash != plan.hash:
            raise Stale(
                f"Plan {request.plan_hash} is stale: the plan is now {plan.hash}.",
                "Look at it again with `stackd plan`.",
            )
        if planned.infeasible:
            raise Refused(
                "This cannot be deployed: " + "; ".join(planned.infeasible) + ".",
                "Change the stack or make room, then apply again.",
            )
        await self._put_contents(request, plan)
        if not plan.changed:
            await self._nothing_changed(request, plan)
            return Deployed(plan.base, False, plan, planned.notes, planned.failed)
        for changes in records.preparation(self._tables.world, plan, planned.digests):
            await self._tables.commit(changes, self._context.fence)
        stamp = records.Stamp(
            at=self._context.clock.now(),
            by=request.by,
            event=next(self._context.ids),
            commit=request.commit,
            path=request.path,
            cause=request.cause,
        )
        number = records.next_number(self._tables.world, plan.stack)
        declared = records.release(self._tables.world, plan, stamp)
        relies = records.relied(self._tables.world, plan)
        declared = msgspec.structs.replace(declared, relies=relies)
        await self._tables.commit(declared, self._context.fence)
        return Deployed(number, True, plan, planned.notes, planned.failed)

    async def _nothing_changed(self, request: Deploy, plan: Plan) -> None:
        if request.commit:
            world, commit = self._tables.world, request.commit
            noted = records.confirmed(world, plan.stack, commit, request.path)
            if noted.changes:
                await self._tables.commit(noted, self._context.fence)

    async def _put_contents(self, request: Deploy, plan: Plan) -> None:
        for key, value in sorted(request.contents.items()):
            kind, _, name = key.partition("/")
            declared = plan.spec.configs if kind == "config" else plan.spec.secrets
            if name not in declared:
                continue
            new = NewContent(
                ContentKind(kind), declared[name].name, value, request.by, request.spec.name
            )
            await self._contents.put(new)

    def _versions(self, request: Deploy, spec: StackSpec) -> dict[str, str]:
        found: dict[str, str] = {}
        for kind, declared in (
            (ContentKind.CONFIG, spec.configs),
            (ContentKind.SECRET, spec.secrets),
        ):
            for name, content in declared.items():
                key = f"{kind}/{name}"
                if content.external:
                    found[key] = self._contents.current(kind, content.name)
                else:
                    value = request.contents[key]
                    found[key] = self._contents.version_of(kind, content.name, value)
        return found

    async def seen(self, stack: str, commit: str, problem: str) -> None:
        """Note that a stack's repository has processed `commit`; `problem` if it was refused."""
        changes = records.seen(self._tables.world, stack, commit, problem)
        if changes.changes:
            await self._tables.commit(changes, self._context.fence)

    async def remove(self, stack: str, by: str, *, volumes: bool = False, cause: str = "") -> None:
        """Ask for a stack's removal; the loops do it and then forget the stack."""
        head = self._tables.world.get(Stack, stack)
        if head is None:
            raise Unknown(f"There is no stack {stack}.", "See: stackd ls")
        gone = msgspec.structs.replace(head, removing=True, remove_volumes=volumes)
        event = Event(
            id=next(self._context.ids),
            at=self._context.clock.now(),
            kind="stack.removing",
            object=stack,
            principal=by,
            cause=cause,
            text=f"{stack} is being removed" + (", with its volumes" if volumes else ""),
        )
        changes = Changes(changes=(Put(record=gone), Put(record=event)))
        await self._tables.commit(changes, self._context.fence)


def _without(release: Release | None, spec: StackSpec, failed: Mapping[str, str]) -> StackSpec:
    """`spec` with each failed service as it was, or left out when it is new."""
    if not failed:
        return spec
    services = dict(spec.services)
    for name in failed:
        if release is not None and name in release.services:
            services[name] = release.services[name].spec
        else:
            del services[name]
    return msgspec.structs.replace(spec, services=services)
