"""Why a plan cannot work: ports, addresses, capacity and placement, surge included.

Called by the deployer before it commits, and shown by `plan`.
"""

from collections.abc import Iterator, Mapping, Sequence

from stackd.core.model import fit
from stackd.core.model.network import Network
from stackd.core.model.release import ServiceRelease, Stack
from stackd.core.model.stack import AppProtocol, Mode, Port, Route, ServiceSpec
from stackd.core.model.world import World
from stackd.core.network import ipam
from stackd.core.plan.changes import CreateService, ReplaceRevision
from stackd.core.plan.make import Plan
from stackd.core.schedule.assign import can_place
from stackd.core.schedule.load import Loads


def infeasible(world: World, plan: Plan) -> tuple[str, ...]:
    """One sentence (without a full stop) for each thing that would not work; () = feasible."""
    return (
        *_ports(world, plan),
        *_addresses(world, plan),
        *_capacity(world, plan),
    )


def _ports(world: World, plan: Plan) -> Iterator[str]:
    others = {
        f"{head.name}/{name}": part.spec
        for head in world.all(Stack)
        if head.name != plan.stack and (release := world.release(head.name)) is not None
        for name, part in release.services.items()
    }
    for name, part in sorted(plan.services.items()):
        for port in part.spec.ports:
            for other, spec in sorted(others.items()):
                if _clash(port, part.spec.route, spec):
                    yield (f"port {port.published} of {plan.stack}/{name} is published by {other}")
        shown = part.spec.strategy.preview
        for other, spec in sorted(others.items()):
            if shown is not None and shown.published and shown.published in _published(spec):
                text = f"port {shown.published}, the preview of {plan.stack}/{name},"
                yield f"{text} is published by {other}"
        others[f"{plan.stack}/{name}"] = part.spec


def _clash(port: Port, route: Route | None, other: ServiceSpec) -> bool:
    """Two services share a published port only over HTTP and with different routes."""
    preview = other.strategy.preview
    if preview is not None and port.published and port.published == preview.published:
        return True
    for taken in other.ports:
        if not port.published or taken.published != port.published:
            continue
        if AppProtocol.TCP in (port.protocol, taken.protocol):
            return True
        mine, theirs = route or Route(), other.route or Route()
        hosts = set(mine.hosts or ("",)) & set(theirs.hosts or ("",))
        if hosts and mine.path_prefix == theirs.path_prefix:
            return True
    return False


def _published(spec: ServiceSpec) -> set[int]:
    """All ports that a service takes, that of its preview too."""
    preview = spec.strategy.preview
    return {port.published for port in spec.ports} | ({preview.published} if preview else set())


def _addresses(world: World, plan: Plan) -> Iterator[str]:
    """Each task needs an address in each of its networks, each new service one more."""
    networks = {n.name: n for n in world.all(Network)}
    needed: dict[str, int] = {}
    for name, part in plan.services.items():
        extra = _extra(world, plan, name, part)
        if not extra:
            continue
        new = any(isinstance(c, CreateService) and c.service == name for c in plan.changes)
        for attachment in part.spec.container.networks:
            literal = plan.spec.networks[attachment.network].name
            needed[literal] = needed.get(literal, 0) + extra + new
    for literal, count in sorted(needed.items()):
        network = networks.get(literal)
        declared = next(n for n in plan.spec.networks.values() if n.name == literal)
        if network is None and declared.external:
            yield f"network {literal} is external and does not exist"
            continue
        if network is not None:
            free = ipam.free(network, world)
        else:
            free = ipam.room(declared.subnet)
        if free < count:
            yield f"network {literal} needs {count} addresses and has {free} free"


def _capacity(world: World, plan: Plan) -> Iterator[str]:
    needs = _needs(world, plan)
    alone = [_short(world, plan, one, Loads()) for one in needs]
    if any(alone):
        yield from filter(None, alone)
        return
    # What is new stays, so that all of it must fit at once; what a rollout needs for a while may
    # come one after the other. In which order tasks come is not known: one that works is enough.
    replaced = {c.service for c in plan.changes if isinstance(c, ReplaceRevision)}
    new = [(name, count) for name, count in needs if name not in replaced]
    together = [_together(world, plan, order) for order in (new, new[::-1])]
    if all(together):
        yield f"{together[0]} (beside what else the plan adds)"


def tight(world: World, plan: Plan) -> bool:
    """Whether rollouts of the plan may have to wait for each other's room: each has what it needs
    for a while, but not all at once. Then only playing them shows whether they go through."""
    needs = _needs(world, plan)
    return bool(_together(world, plan, needs) and _together(world, plan, needs[::-1]))


def _needs(world: World, plan: Plan) -> list[tuple[str, int]]:
    """What each service needs beside what runs."""
    parts = sorted(plan.services.items())
    return [(name, n) for name, part in parts if (n := _extra(world, plan, name, part))]


def _together(world: World, plan: Plan, order: Sequence[tuple[str, int]]) -> str:
    """What does not fit any more when these come one after the other; '' when all do."""
    beside = Loads()
    return next(filter(None, (_short(world, plan, one, beside) for one in order)), "")


def _short(world: World, plan: Plan, asked: tuple[str, int], beside: Loads) -> str:
    """Why not so many tasks of a service can be placed, '' when they can."""
    name, count = asked
    room = can_place(world, plan.stack, plan.services[name].spec, count, beside)
    if room.placed >= count:
        return ""
    where = f"{room.placed} of {count} tasks of {plan.stack}/{name} can be placed"
    return f"{where}: {room.reason}" if room.reason else where


def _extra(world: World, plan: Plan, name: str, part: ServiceRelease) -> int:
    """Tasks that must fit beside those that run: all of a new service, the surge of a rollout,
    the growth of a scaled one."""
    spec = part.spec
    total = fit.replicas(world, plan.stack, spec)
    kinds: Mapping[str, type] = {
        c.service: type(c) for c in plan.changes if isinstance(c, CreateService | ReplaceRevision)
    }
    running = sum(v.live and v.wanted for v in world.tasks_of(plan.stack, name))
    match kinds.get(name):
        case None:
            return 0 if spec.mode is Mode.GLOBAL else max(0, total - running)
        case kind if kind is CreateService:
            return total
        case _ if spec.mode is Mode.GLOBAL:
            return 0
        case _:
            return max(0, spec.strategy.peak(total) - running)
