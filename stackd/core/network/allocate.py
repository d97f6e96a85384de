"""Gives networks, virtual addresses, open ports, task addresses: tasks go from NEW to PENDING.

The decider of the allocator loop (`manager.allocator`). What cannot be given is said on the task.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from stackd.core.model.decision import Decision
from stackd.core.model.draft import Draft, Ids
from stackd.core.model.ids import NetworkId, service_key
from stackd.core.model.network import Network, ServiceAddresses
from stackd.core.model.record import Delete, ref
from stackd.core.model.release import Release, Revision, Stack
from stackd.core.model.rollout import ServiceState
from stackd.core.model.stack import NetworkSpec, ServiceSpec
from stackd.core.model.states import TaskState
from stackd.core.model.task import TaskDesired
from stackd.core.model.world import TaskView, World
from stackd.core.network import ipam, ports


@dataclass(frozen=True)
class Settings:
    """What this cluster allocates from."""

    cluster: str
    pool: ipam.Pool = ipam.DEFAULT_POOL
    mtu: int = 1450
    reserved_vnis: frozenset[int] = frozenset()
    """Network ids that something else on the machines uses."""
    reserved_subnets: tuple[str, ...] = ()
    """Subnets that something else on the machines uses."""


@dataclass
class _Book:
    """What is taken, while one pass gives more of it."""

    world: World
    networks: dict[str, Network]
    """By name."""
    taken: dict[str, set[str]] = field(default_factory=dict)
    cursors: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    """Network name -> why it could not be made, or has nothing to give."""
    written: set[str] = field(default_factory=set)
    """Network ids that this pass writes anyway: a place is written once in a pass."""

    def take(self, network: Network) -> str:
        used = self.taken.get(network.id)
        if used is None:
            used = self.taken[network.id] = ipam.used(network, self.world)
        cursor = self.cursors.get(network.id, network.cursor)
        address, self.cursors[network.id] = ipam.take(network, used, cursor)
        used.add(address)
        return address


def decide(
    world: World, stacks: Collection[str], tasks: Iterable[str], now: float, ids: Ids, to: Settings
) -> Decision:
    """Allocate for these stacks' declarations and for these tasks, as far as they are NEW."""
    draft = Draft(now, ids)
    book = _Book(world, {n.name: n for n in world.all(Network)})
    for stack in sorted(stacks):
        release = world.release(stack)
        if release is not None:
            _make_networks(draft, book, release, to)
            _make_services(draft, book, release)
        _drop_networks(draft, book, stack, release)
    for task_id in sorted(tasks):
        view = world.task(task_id)
        if view is not None and view.status.state is TaskState.NEW and view.wanted:
            _address(draft, book, view)
    for network_id, cursor in sorted(book.cursors.items()):
        known = world.get(Network, network_id)
        if known is not None and known.cursor != cursor and network_id not in book.written:
            draft.group([msgspec.structs.replace(known, cursor=cursor)])
    return draft.decision()


def _make_networks(draft: Draft, book: _Book, release: Release, to: Settings) -> None:
    for spec in release.spec.networks.values():
        have = book.networks.get(spec.name)
        if have is not None and have.stack == release.stack and not spec.external:
            book.networks[spec.name] = _updated(draft, book, have, spec)
        elif have is None and spec.external:
            book.problems[spec.name] = f"network {spec.name} is external and does not exist"
        elif have is not None and have.stack != release.stack and not spec.external:
            book.problems[spec.name] = f"network {spec.name} belongs to {have.stack or 'nobody'}"
        elif have is None:
            _make_network(draft, book, release, spec, to)


def _updated(draft: Draft, book: _Book, have: Network, spec: NetworkSpec) -> Network:
    new = msgspec.structs.replace(
        have, internal=spec.internal, attachable=spec.attachable, labels=spec.labels
    )
    if new != have:
        book.written.add(have.id)
        draft.group([new])
    return new


def _make_network(
    draft: Draft, book: _Book, release: Release, spec: NetworkSpec, to: Settings
) -> None:
    others = book.networks.values()
    try:
        subnet = ipam.subnet(
            spec.subnet, to.pool, [*(n.subnet for n in others), *to.reserved_subnets]
        )
        vni = ipam.vni(to.cluster, spec.name, {n.vni for n in others} | to.reserved_vnis)
    except ipam.Exhausted as error:
        book.problems[spec.name] = f"network {spec.name}: {error}"
        return
    network = Network(
        id=_network_id(draft, others),
        name=spec.name,
        stack=release.stack,
        vni=vni,
        subnet=subnet,
        internal=spec.internal,
        attachable=spec.attachable,
        mtu=spec.mtu or to.mtu,
        labels=spec.labels,
        cursor=ipam.GATEWAYS - 1,
    )
    book.networks[spec.name] = network
    event = draft.event(
        "network.created", network.name, f"subnet {subnet}, network id {vni}", release.cause
    )
    draft.group([network, event])


def _network_id(draft: Draft, others: Collection[Network]) -> NetworkId:
    """The end of a fresh id: its head is the time."""
    known = {network.id for network in others}
    while (found := NetworkId(draft.ids()[-8:])) in known:
        pass
    return found


def _make_services(draft: Draft, book: _Book, release: Release) -> None:
    busy: set[int] | None = None
    for name in sorted(release.services):
        spec = release.services[name].spec
        have = book.world.get(ServiceAddresses, service_key(release.stack, name))
        vips = _vips(book, release, spec, have)
        chosen: Mapping[str, int] = {}
        if any(not port.published for port in spec.ports):
            busy = ports.taken(book.world) if busy is None else busy
            try:
                chosen = ports.choose(spec, have.ports if have else {}, busy)
            except ipam.Exhausted as error:
                book.problems[f"{release.stack}/{name}"] = str(error)
            busy.update(chosen.values())
        new = ServiceAddresses(stack=release.stack, service=name, vips=vips, ports=chosen)
        if new != have:
            draft.group([new])


def _vips(
    book: _Book, release: Release, spec: ServiceSpec, have: ServiceAddresses | None
) -> dict[str, str]:
    kept = dict(have.vips) if have else {}
    vips: dict[str, str] = {}
    for attachment in spec.container.networks:
        network = _network(book, release.stack, release, attachment.network)
        if network is None:
            continue
        try:
            vips[network.id] = kept.get(network.id) or book.take(network)
        except ipam.Exhausted as error:
            book.problems[network.name] = str(error)
    in_use = {
        n for v in book.world.tasks_of(release.stack, spec.name) if v.live for n in v.task.addresses
    }
    vips.update({n: a for n, a in kept.items() if n in in_use and n not in vips})
    return vips


def _network(book: _Book, stack: str, release: Release | None, name: str) -> Network | None:
    """The network that a service of `stack` calls `name`; by its usual name when undeclared."""
    spec = release.spec.networks.get(name) if release else None
    return book.networks.get(spec.name if spec else f"{stack}_{name}")


def _drop_networks(draft: Draft, book: _Book, stack: str, release: Release | None) -> None:
    declared = (
        {n.name for n in release.spec.networks.values() if not n.external} if release else set()
    )
    own = [n for n in book.networks.values() if n.stack == stack and n.name not in declared]
    if not own or book.world.get(Stack, stack) is None:
        return
    needed = _needed(book, stack, release)
    for network in own:
        if network.name not in needed and not _joined(book.world, network):
            event = draft.event("network.removed", network.name, "nothing uses it any more")
            draft.group([Delete(ref=ref(Network, network.key)), event])


def _needed(book: _Book, stack: str, release: Release | None) -> set[str]:
    names = set()
    for state in book.world.all(ServiceState):
        if state.stack != stack:
            continue
        for revision_id in {*state.counts, *([state.stable] if state.stable else [])}:
            revision = book.world.get(Revision, f"{stack}/{state.service}/{revision_id}")
            for attachment in revision.container.networks if revision else ():
                network = _network(book, stack, release, attachment.network)
                names.update({network.name} if network else set())
    return names


def _joined(world: World, network: Network) -> bool:
    return any(
        network.id in view.task.addresses
        for stack in ipam.users(network, world)
        for view in world.tasks_of_stack(stack)
        if view.live
    )


def _address(draft: Draft, book: _Book, view: TaskView) -> None:
    task, status = view.task, view.status
    revision = book.world.get(Revision, f"{task.stack}/{task.service}/{task.revision}")
    release = book.world.release(task.stack)
    addresses: dict[str, str] = {}
    problem = book.problems.get(service_key(task.stack, task.service), "")
    if revision is None:
        problem = f"revision {task.revision} is not stored"
    for attachment in revision.container.networks if revision else ():
        network = _network(book, task.stack, release, attachment.network)
        if network is None or network.name in book.problems:
            spec = release.spec.networks.get(attachment.network) if release else None
            known = book.problems.get(network.name if network else spec.name if spec else "")
            problem = known or f"network {attachment.network} does not exist"
            break
        try:
            addresses[network.id] = book.take(network)
        except ipam.Exhausted as error:
            # Thousands of tasks may wait for an address: only the first one looks at all of them.
            problem = book.problems[network.name] = str(error)
            break
    if problem:
        if status.error != problem:
            draft.group([msgspec.structs.replace(status, error=problem)])
        return
    draft.group(
        [
            msgspec.structs.replace(task, addresses=addresses),
            msgspec.structs.replace(
                status, state=TaskState.PENDING, error="", at=draft.now, seen=draft.now
            ),
        ],
        relies=[ref(TaskDesired, task.id)],
    )
