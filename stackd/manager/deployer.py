"""Makes a rendered stack the declared one: looks up, plans, checks, commits.

Called by the control API (`apply`, `plan`) and by the source loop. Planning is pure
(`core.plan`, `core.foresight`); what is committed here is the list that a plan prints.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from stackd.core.foresight.feasibility import infeasible
from stackd.core.foresight.simulate import simulate
from stackd.core.model.api import SimulationAnswer
from stackd.core.model.event import Event
from stackd.core.model.record import Changes, Put
from stackd.core.model.release import ContentKind, Digest, Release, Stack
from stackd.core.model.stack import ServiceSpec, StackSpec
from stackd.core.plan import records
from stackd.core.plan.make import Declaration, Plan, make_plan
from stackd.core.rollout import freezing
from stackd.errors import Conflict, Refused, StackdError, Stale, Unavailable, Unknown
from stackd.manager.contents import Contents, NewContent
from stackd.manager.loop import Context


class Resolver(Protocol):
    """Image names to digests."""

    async def resolve(self, image: str) -> tuple[str, bool]:
        """(`sha256:…`, whether it is a local name). Raises Refused or Unavailable."""
        ...

    async def ensure(self, image: str) -> object:
        """Make `name@sha256:…` whole in the cluster's blob store. Raises Refused, Unavailable."""
        ...

    def normalise(self, image: str) -> str:
        """The full name without tag or digest, e.g. for `name@sha256:…`."""
        ...


@dataclass(frozen=True, slots=True)
class Deploy:
    """One rendered stack to deploy or to plan."""

    spec: StackSpec
    contents: Mapping[str, bytes]
    owner: str
    by: str
    commit: str = ""
    path: str = ""
    pull: bool = False
    override: bool = False
    plan_hash: str = ""
    cause: str = ""

    def __repr__(self) -> str:
        return f"Deploy({self.spec.name} by {self.by})"


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with what surrounds it. `failed`: service -> why its image could not be resolved;
    such a service stays as it is, the others go on."""

    plan: Plan
    digests: tuple[Digest, ...]
    infeasible: tuple[str, ...]
    notes: tuple[str, ...]
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deployed:
    """What was committed."""

    release: int
    changed: bool
    plan: Plan
    notes: tuple[str, ...]
    failed: Mapping[str, str]


class Deployer:
    """Plans and deploys stacks, one at a time each."""

    def __init__(self, context: Context, contents: Contents, resolver: Resolver) -> None:
        self._context = context
        self._tables = context.tables
        self._contents = contents
        self._resolver = resolver
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def plan(self, request: Deploy, *, fetch: bool = False) -> Planned:
        """What would change; writes nothing. With `fetch` the images are made present, so that
        nodes can get them from the manager."""
        digests, notes, failed = await self._resolve(request)
        if fetch:
            digests = await self._fetch(digests, failed)
        spec = _without(self._tables.world.release(request.spec.name), request.spec, failed)
        images = {d.service: self._name(d) for d in digests if d.service in spec.services}
        kept = self._tables.world.release(spec.name)
        for name in failed:
            if kept and name in kept.services:
                images[name] = self._pinned(spec.name, name)
        wanted = Declaration(
            spec=spec,
            images=images,
            versions=self._versions(request, spec),
            owner=request.owner,
            override=request.override,
        )
        plan = make_plan(self._tables.world, wanted)
        problems = infeasible(self._tables.world, plan) if plan.changed else ()
        notes += self._freezes(plan)
        return Planned(plan, tuple(digests), problems, tuple(notes), failed)

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

    async def _resolve(self, request: Deploy) -> tuple[list[Digest], list[str], dict[str, str]]:
        """A digest for each service: the recorded one while the image string is the same."""
        digests: list[Digest] = []
        notes: list[str] = []
        failed: dict[str, str] = {}
        found: dict[str, tuple[str, bool] | StackdError] = {}
        for name, service in sorted(request.spec.services.items()):
            image = service.container.image
            recorded = self._recorded(request.spec.name, service)
            if recorded is not None and not request.pull:
                digests.append(recorded)
                notes += await self._moved(recorded, found)
                continue
            outcome = await self._look_up(image, found)
            if isinstance(outcome, StackdError):
                failed[name] = f"{request.spec.name}/{name}: {_named(image, outcome)}"
                continue
            digests.append(
                Digest(
                    stack=request.spec.name,
                    service=name,
                    image=image,
                    digest=outcome[0],
                    local=outcome[1],
                )
            )
        return digests, notes, failed

    async def _fetch(self, digests: list[Digest], failed: dict[str, str]) -> list[Digest]:
        """Those whose image is present now; the others are noted in `failed`."""
        kept: list[Digest] = []
        for digest in digests:
            try:
                await self._resolver.ensure(self._name(digest))
                kept.append(digest)
            except StackdError as error:
                failed[digest.service] = f"{digest.key}: {_named(digest.image, error)}"
        return kept

    def _name(self, digest: Digest) -> str:
        return f"{self._resolver.normalise(digest.image)}@{digest.digest}"

    def _recorded(self, stack: str, service: ServiceSpec) -> Digest | None:
        recorded = self._tables.world.get(Digest, f"{stack}/{service.name}")
        return recorded if recorded and recorded.image == service.container.image else None

    async def _moved(
        self, recorded: Digest, found: dict[str, tuple[str, bool] | StackdError]
    ) -> list[str]:
        """A note when a local name now means other bytes than the recorded ones."""
        if not recorded.local:
            return []
        outcome = await self._look_up(recorded.image, found)
        if isinstance(outcome, StackdError) or outcome[0] == recorded.digest:
            return []
        return [
            f"{recorded.stack}/{recorded.service}: {recorded.image} now is {outcome[0][:19]}, "
            f"{recorded.digest[:19]} is recorded and stays; use --pull to take the new one."
        ]

    async def _look_up(
        self, image: str, found: dict[str, tuple[str, bool] | StackdError]
    ) -> tuple[str, bool] | StackdError:
        if image not in found:
            try:
                found[image] = await self._resolver.resolve(image)
            except StackdError as error:
                found[image] = error
        return found[image]

    def _pinned(self, stack: str, service: str) -> str:
        digest = self._tables.world.get(Digest, f"{stack}/{service}")
        if digest is None:
            raise Refused(
                f"{stack}/{service} has no recorded image.", "Apply it again with --pull."
            )
        return self._name(digest)

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


def _named(image: str, error: StackdError) -> str:
    """The cause, and which image it is about."""
    return error.cause if image in error.cause else f"image {image}: {error.cause}"


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
