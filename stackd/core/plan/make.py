"""Makes the plan of one stack: a pure function of the tables and a rendered declaration."""

import hashlib
from collections.abc import Iterator, Mapping

import msgspec

from stackd.core.model.container import ContainerSpec
from stackd.core.model.ids import RevisionId
from stackd.core.model.network import Network, VolumeBinding
from stackd.core.model.record import Value
from stackd.core.model.release import (
    ContentHead,
    Hold,
    Override,
    Release,
    Revision,
    ServiceRelease,
    Stack,
)
from stackd.core.model.rollout import ServiceState
from stackd.core.model.stack import Mode, ServiceSpec, StackSpec
from stackd.core.model.world import World
from stackd.core.plan import changes as kinds
from stackd.core.plan import growing
from stackd.core.plan.fields import differences
from stackd.core.plan.revision import revision_of
from stackd.errors import Refused


class Declaration(Value, frozen=True, kw_only=True):
    """A rendered stack with everything that had to be looked up for it."""

    spec: StackSpec
    images: Mapping[str, str]
    """Service -> `name@sha256:…`."""
    versions: Mapping[str, str] = msgspec.field(default_factory=dict)
    """`config/NAME` or `secret/NAME` of the stack file -> version id."""
    owner: str = "cli"
    override: bool = False


class Plan(Value, frozen=True, kw_only=True):
    """What would change. Executing it writes `revisions` and a release of `services`."""

    stack: str
    owner: str
    base: int
    """The release it is made against; 0 = none."""
    spec: StackSpec
    services: Mapping[str, ServiceRelease]
    revisions: tuple[Revision, ...]
    changes: tuple[kinds.PlanChange, ...]
    content_hash: str
    hash: str
    """12 hex digits over everything above and the state it was made against."""

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.changes)


def make_plan(world: World, wanted: Declaration) -> Plan:
    """The plan for `wanted` against the tables.

    Raises Refused when the stack belongs to another owner or is being removed.
    """
    spec = wanted.spec
    head = world.get(Stack, spec.name)
    _check_owner(head, wanted)
    release = world.release(spec.name)
    revisions = {
        name: revision_of(
            spec.name, service, wanted.images[name], _versions_for(service, wanted.versions)
        )
        for name, service in spec.services.items()
    }
    services = {
        name: ServiceRelease(spec=service, revision=revisions[name].id)
        for name, service in spec.services.items()
    }
    found = tuple(_changes(world, wanted, head, release, revisions))
    content_hash = _digest(spec, {name: s.revision for name, s in services.items()})
    base = head.release if head else 0
    return Plan(
        stack=spec.name,
        owner=head.owner if head and wanted.override else wanted.owner,
        base=base,
        spec=spec,
        services=services,
        revisions=tuple(revisions[name] for name in sorted(revisions)),
        changes=found,
        content_hash=content_hash,
        hash=_digest(content_hash, base, found, _state(world, spec.name)),
    )


def _check_owner(head: Stack | None, wanted: Declaration) -> None:
    if head is None:
        return
    name = wanted.spec.name
    if head.removing:
        raise Refused(f"{name} is being removed.", f"Wait for it: stackd rm {name} --wait")
    if head.owner == wanted.owner or wanted.override:
        return
    if wanted.owner == "cli":
        raise Refused(
            f"{name} is owned by {head.owner}.",
            "Commit the change there, or deploy over it with --override.",
        )
    repo = wanted.owner.removeprefix("repo:")
    raise Refused(
        f"{name} is owned by {head.owner}, and {wanted.owner} declares it too.",
        f"Hand it over with: stackd adopt {name} --repo {repo}",
    )


def _versions_for(service: ServiceSpec, versions: Mapping[str, str]) -> Mapping[str, str]:
    names = [f"config/{g.name}" for g in service.container.configs]
    names += [f"secret/{g.name}" for g in service.container.secrets]
    return {name: versions[name] for name in names}


def _changes(
    world: World,
    wanted: Declaration,
    head: Stack | None,
    release: Release | None,
    revisions: Mapping[str, Revision],
) -> Iterator[kinds.PlanChange]:
    """In the order of doing: contents, networks, volumes, services, then what goes."""
    spec = wanted.spec
    if head is not None and wanted.override and head.owner != wanted.owner:
        yield kinds.TakeOver(owner=head.owner)
    yield from _content_changes(world, wanted)
    networks = {n.name for n in world.all(Network)}
    if release is not None:  # declared already: its allocation is on its way
        networks |= {n.name for n in release.spec.networks.values() if not n.external}
    for network in spec.networks.values():
        if not network.external and network.name not in networks:
            yield kinds.CreateNetwork(name=network.name)
    volumes = {v.name for v in world.all(VolumeBinding) if not v.removing}
    for volume in spec.volumes.values():
        known = release is not None and volume in release.spec.volumes.values()
        if not volume.external and volume.name not in volumes and not known:
            yield kinds.CreateVolume(name=volume.name)
    for name in _in_order(spec):
        yield from _service_changes(world, release, spec.services[name], revisions[name])
    if release is None:
        return
    outside = differences(_without_services(release.spec), _without_services(spec))
    if outside:
        yield kinds.ChangeDeclaration(fields=outside)
    for name in sorted(set(release.services) - set(spec.services)):
        yield kinds.RemoveService(service=name)
    kept = {n.name for n in spec.networks.values()}
    for network in release.spec.networks.values():
        if not network.external and network.name not in kept:
            yield kinds.RemoveNetwork(name=network.name)


def _content_changes(world: World, wanted: Declaration) -> Iterator[kinds.PutContent]:
    declared = {
        "config": wanted.spec.configs,
        "secret": wanted.spec.secrets,
    }
    for kind, specs in declared.items():
        for name in sorted(specs):
            after = wanted.versions.get(f"{kind}/{name}")
            if specs[name].external or after is None:
                continue
            current = world.get(ContentHead, f"{kind}/{specs[name].name}")
            before = current.version if current else ""
            if before != after:
                yield kinds.PutContent(kind=kind, name=specs[name].name, before=before, after=after)


def _service_changes(
    world: World, release: Release | None, spec: ServiceSpec, revision: Revision
) -> Iterator[kinds.PlanChange]:
    stack = revision.stack
    old = release.services.get(spec.name) if release else None
    if old is None:
        tasks = "on every fitting node" if spec.mode is Mode.GLOBAL else f"{spec.replicas} tasks"
        yield kinds.CreateService(
            service=spec.name, revision=revision.id, tasks=tasks, strategy=spec.strategy.kind
        )
        return
    hold = world.get(Hold, f"{stack}/{spec.name}/{revision.id}")
    if old.revision != revision.id:
        if hold is not None:
            yield kinds.RefuseRevision(service=spec.name, revision=revision.id, reason=hold.reason)
        else:
            yield kinds.ReplaceRevision(
                service=spec.name,
                before=old.revision,
                after=revision.id,
                strategy=spec.strategy.kind,
                fields=_revision_fields(world, stack, spec.name, old.revision, revision),
            )
    in_place = differences(_without_container(old.spec), _without_container(spec))
    if old.revision == revision.id:
        in_place += differences(old.spec.container, spec.container)
    grown = tuple(growing.grown(world, stack, old.spec, spec))
    yield from grown
    if rest := growing.others(in_place, grown):
        yield kinds.ChangeInPlace(service=spec.name, fields=rest)
    override = world.get(Override, f"{stack}/{spec.name}")
    if override is not None and override.declared != spec.replicas:
        yield kinds.ClearOverride(service=spec.name, replicas=override.replicas)


def _revision_fields(
    world: World, stack: str, service: str, before: RevisionId, after: Revision
) -> tuple[kinds.FieldChange, ...]:
    old = world.get(Revision, f"{stack}/{service}/{before}")
    return differences(old.container if old else None, after.container)


def _without_container(spec: ServiceSpec) -> ServiceSpec:
    return msgspec.structs.replace(spec, container=ContainerSpec(image=""))


def _without_services(spec: StackSpec) -> StackSpec:
    return msgspec.structs.replace(spec, services={})


def _in_order(spec: StackSpec) -> list[str]:
    """Services with their dependencies first, otherwise by name."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in done or name not in spec.services:
            return
        for dependency in sorted(spec.services[name].depends_on):
            visit(dependency)
        done[name] = None

    for name in sorted(spec.services):
        visit(name)
    return list(done)


def _state(world: World, stack: str) -> list[object]:
    """What else the plan depends on: if any of it moves, the plan's hash does."""
    return [
        (state.service, state.stable, state.rollout.target if state.rollout else None)
        for state in world.all(ServiceState)
        if state.stack == stack
    ]


def _digest(*parts: object) -> str:
    body = msgspec.json.encode(parts, order="sorted")
    return hashlib.sha256(b"stackd plan 1\n" + body).hexdigest()[:12]
