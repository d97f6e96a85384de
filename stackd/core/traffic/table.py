"""The traffic table: services, tasks and wanted weights -> one entry per service.

The decider of `manager.traffic`. Entries are written only when they change, each in a commit of
its own that relies on the wishes for the endpoints it adds.
"""

from collections.abc import Iterable, Mapping

import msgspec

from stackd.core.model import fit
from stackd.core.model.decision import Decision, Dirty
from stackd.core.model.draft import Draft, Ids
from stackd.core.model.ids import service_key
from stackd.core.model.network import Network, ServiceAddresses
from stackd.core.model.node import NodeStatus
from stackd.core.model.record import Delete, Ref, ref
from stackd.core.model.release import ContentHead, ContentKind, Stack
from stackd.core.model.rollout import Rollout, ServiceState, ToggleState
from stackd.core.model.stack import ServiceSpec
from stackd.core.model.states import Leaving, NodeState, TaskState
from stackd.core.model.strategy import StrategyKind
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.toggle import Toggle, ToggleOverride, in_effect
from stackd.core.model.traffic import Endpoint, EndpointState, IngressPort, Steering, TrafficEntry
from stackd.core.model.world import TaskView, World
from stackd.core.traffic import effective

MAX_NEW = 80
"""Endpoints added in one write: each is a place the commit relies on."""


def decide(world: World, dirty: Dirty, now: float, ids: Ids) -> Decision:
    """Bring the entries of the services concerned up to date."""
    draft = Draft(now, ids)
    networks = by_name(world)
    for key in concerned(world, dirty):
        have = world.get(TrafficEntry, key)
        new = entry(world, key, networks)
        if new is not None and new != have:
            draft.group([new], _added(have, new))
        elif new is None and have is not None:
            draft.group([Delete(ref=ref(TrafficEntry, key))])
    return draft.decision()


def concerned(world: World, dirty: Dirty) -> list[str]:
    """`STACK/SERVICE` of every entry that what has changed may change."""
    if dirty.everything or any(r.table == Network.TABLE for r in dirty.refs):
        entries = (e.key for e in world.all(TrafficEntry))
        stacks = (s.name for s in world.all(Stack))
        return sorted({*entries, *world.services_with_tasks(), *_declared(world, stacks)})
    keys: set[str] = set()
    for changed in dirty.refs:
        if changed.table in (Task.TABLE, TaskDesired.TABLE, TaskStatus.TABLE):
            keys.update(_of_task(world, changed.key))
        elif changed.table in (ServiceState.TABLE, TrafficEntry.TABLE, ServiceAddresses.TABLE):
            keys.add(changed.key)
        elif changed.table == ContentHead.TABLE:
            keys.update(e.key for e in world.all(TrafficEntry) if e.route and e.route.tls)
        elif changed.table in (ToggleOverride.TABLE, ToggleState.TABLE):
            keys.add(changed.key.rpartition("/")[0])
        elif changed.table == NodeStatus.TABLE:
            keys.update(_of_nodes(world, changed.key))
        elif changed.table == Stack.TABLE:
            prefix = changed.key + "/"
            keys.update(e.key for e in world.all(TrafficEntry) if e.key.startswith(prefix))
            keys.update(_declared(world, [changed.key]))
    return sorted(keys)


def _declared(world: World, stacks: Iterable[str]) -> list[str]:
    releases = ((stack, world.release(stack)) for stack in stacks)
    return [service_key(s, name) for s, release in releases if release for name in release.services]


def _of_task(world: World, task_id: str) -> list[str]:
    task = world.get(Task, task_id)
    if task is not None:
        return [service_key(task.stack, task.service)]
    listed = (e for e in world.all(TrafficEntry) if any(p.task == task_id for p in e.endpoints))
    return [e.key for e in listed]


def _of_nodes(world: World, node: str) -> set[str]:
    """Services on a node that has come or gone; those on others that are lost, too, since what is
    done with them depends on whether any node is heard."""
    down = {status.id for status in world.all(NodeStatus) if status.state is NodeState.DOWN}
    views = (view for name in {*down, node} for view in world.tasks_on(name) if view.live)
    return {service_key(view.task.stack, view.task.service) for view in views}


def _added(have: TrafficEntry | None, new: TrafficEntry) -> list[Ref]:
    known = {e.task for e in have.endpoints} if have else set()
    return [ref(TaskDesired, e.task) for e in new.endpoints if e.task not in known]


def by_name(world: World) -> dict[str, Network]:
    """The allocated networks by their cluster-wide names."""
    return {network.name: network for network in world.all(Network)}


def entry(world: World, key: str, networks: Mapping[str, Network]) -> TrafficEntry | None:
    """The entry that `STACK/SERVICE` should have; None when it is gone and nothing of it is left.

    `networks`: as `by_name` gives them.
    """
    stack, service = key.split("/", 1)
    have = world.get(TrafficEntry, key)
    spec = world.declared(stack, service)
    views = world.tasks_of(stack, service)
    if spec is None and (have is None or not any(v.live for v in views)):
        return None
    base = have or TrafficEntry(stack=stack, service=service)
    if spec is not None:
        base = _declare(world, base, spec, networks)
    endpoints = _endpoints(world, views, have)
    state = world.get(ServiceState, key)
    wanted = dict(state.weights) if state else {}
    going = _going(state)
    ab = spec is not None and spec.strategy.kind is StrategyKind.AB
    counted = ab and going is not None and going.source is not None
    base = msgspec.structs.replace(
        base,
        endpoints=endpoints,
        weights=wanted or effective.shares(effective.ready_counts(endpoints)),
        steering=state.steering if state else Steering(),
        measured=_measured(world, key, spec, going),
        counted=counted,
        goal=spec.strategy.goal if spec is not None and counted else None,
    )
    return msgspec.structs.replace(base, listening=_listening(views, base))


def _going(state: ServiceState | None) -> Rollout | None:
    """The rollout that has not ended: an analysis may look at it, its variants are counted."""
    rollout = state.rollout if state else None
    return rollout if rollout is not None and not rollout.ended else None


def _measured(world: World, key: str, spec: ServiceSpec | None, going: Rollout | None) -> bool:
    """An analysis may look at the rollout of the service, or of a toggle of it."""
    if spec is None:
        return False
    toggles = (
        _going(world.get(ToggleState, f"{key}/{name}"))
        for name, policy in spec.stages.items()
        if policy.analysed
    )
    own = going is not None and spec.strategy.analysed
    return own or any(toggle is not None for toggle in toggles)


def _endpoints(
    world: World, views: list[TaskView], have: TrafficEntry | None
) -> tuple[Endpoint, ...]:
    known = {e.task: e for e in have.endpoints} if have else {}
    found: list[Endpoint] = []
    new = 0
    for view in views:
        state = _state(view, known.get(view.task.id))
        if state is None or fit.cut_off(world, view):
            continue
        new += view.task.id not in known
        if view.task.id in known or new <= MAX_NEW:
            found.append(
                Endpoint(
                    task=view.task.id,
                    revision=view.task.revision,
                    node=view.task.node,
                    state=state,
                    addresses=view.task.addresses,
                )
            )
    return tuple(sorted(found, key=lambda e: e.task))


def _state(view: TaskView, known: Endpoint | None) -> EndpointState | None:
    """How a task stands in the table; None = not at all.

    A task that was asked to go stays ready until the drain loop has taken it on, but one that
    was not in the table by then does not come in any more.
    """
    desired = view.desired
    running = view.status.state is TaskState.RUNNING and desired.state is TaskState.RUNNING
    if not running or desired.leaving in (Leaving.OUT, Leaving.DONE):
        return None
    if desired.leaving is Leaving.DRAINING:
        return EndpointState.DRAINING if known else None
    return EndpointState.READY if view.ready and (view.wanted or known) else None


def _listening(views: list[TaskView], entry_: TrafficEntry) -> bool:
    """Some ready endpoint gets traffic and is not on its way out."""
    going = {v.task.id for v in views if v.desired.leaving is not Leaving.NO}
    return any(task not in going for task in effective.endpoint_weights(entry_))


def _declare(
    world: World, base: TrafficEntry, spec: ServiceSpec, known: Mapping[str, Network]
) -> TrafficEntry:
    addresses = world.get(ServiceAddresses, base.key)
    networks = _networks(world, base.stack, spec, known)
    usable = [n for n in networks.values() if not n.internal] or list(networks.values())
    return msgspec.structs.replace(
        base,
        vips=addresses.vips if addresses else {},
        aliases={
            networks[a.network].id: a.aliases
            for a in spec.container.networks
            if a.aliases and a.network in networks
        },
        ports=_ports(spec, addresses.ports if addresses else {}),
        route=spec.route,
        tls=_certificate(world, base.stack, spec),
        ingress_network=usable[0].id if usable else "",
        drain_timeout=spec.strategy.drain_timeout,
        features={name: _toggle(world, base, spec, name) for name in spec.features},
    )


def _toggle(world: World, base: TrafficEntry, spec: ServiceSpec, name: str) -> Toggle:
    """A toggle as it acts now. One with stages moves only when its state says so."""
    toggle, key = spec.features[name], f"{base.key}/{name}"
    override = world.get(ToggleOverride, key)
    if name not in spec.stages or (override is not None and override.holds(spec.features)):
        return in_effect(toggle, override)
    state, shown = world.get(ToggleState, key), base.features.get(name)
    share = state.share if state is not None else shown.share if shown is not None else 0
    return msgspec.structs.replace(toggle, share=share)


def _certificate(world: World, stack: str, spec: ServiceSpec) -> str:
    """Always the current version of the secret, whatever the revision."""
    if spec.route is None or not spec.route.tls:
        return ""
    release = world.release(stack)
    declared = release.spec.secrets.get(spec.route.tls) if release else None
    name = declared.name if declared is not None else f"{stack}_{spec.route.tls}"
    head = world.get(ContentHead, f"{ContentKind.SECRET}/{name}")
    return f"{head.key}/{head.version}" if head is not None else ""


def _networks(
    world: World, stack: str, spec: ServiceSpec, known: Mapping[str, Network]
) -> dict[str, Network]:
    """The allocated networks of a service by their names in the stack file, in its order."""
    release = world.release(stack)
    declared = release.spec.networks if release else {}
    found: dict[str, Network] = {}
    for attachment in spec.container.networks:
        named = declared.get(attachment.network)
        network = known.get(named.name if named else f"{stack}_{attachment.network}")
        if network is not None:
            found[attachment.network] = network
    return found


def _ports(spec: ServiceSpec, chosen: Mapping[str, int]) -> tuple[IngressPort, ...]:
    """Published ports; one that the allocator has yet to choose is left out."""
    found = []
    for port in spec.ports:
        published = port.published or chosen.get(f"{port.target}/{port.protocol.value}", 0)
        if published:
            found.append(
                IngressPort(published=published, target=port.target, protocol=port.protocol)
            )
    return tuple(sorted(set(found)))
