"""What one node must know: the items of its assignment stream, whole or after some changes.

Work is proportional to the node's own tasks and to what has changed. Called by
`manager.assigner`; contents are only named here, the caller opens them.
"""

from collections.abc import Iterable, Mapping

from stackd.core.model.assignment import (
    AttachmentItem,
    ContentItem,
    Item,
    ItemRef,
    NetworkItem,
    NodeItem,
    TaskItem,
    TrafficItem,
    VolumeItem,
)
from stackd.core.model.container import Grant
from stackd.core.model.network import Network, VolumeBinding
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.record import Record, Ref
from stackd.core.model.release import ContentKind, Release, Revision, Stack
from stackd.core.model.stack import StackSpec
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.traffic import TrafficEntry
from stackd.core.model.world import TaskView, World

WATCHED: tuple[type[Record], ...] = (
    Node,
    NodeStatus,
    Network,
    Task,
    TaskDesired,
    TaskStatus,
    TrafficEntry,
    VolumeBinding,
)
"""Tables whose changes can change an assignment. A revision is written before its tasks."""
OLDER_RELEASES = 50
NEWER_RELEASES = 10

Items = dict[ItemRef, Item]
Update = dict[ItemRef, Item | None]


def place(item: Item) -> ItemRef:
    """Where an item is put."""
    return ItemRef(kind=item.KIND, key=item.key)


def ingress_networks(world: World) -> frozenset[str]:
    """Networks that every node takes part in, because it answers on the published ports."""
    entries = world.all(TrafficEntry)
    return frozenset(e.ingress_network for e in entries if e.ports and e.ingress_network)


def networks_of(world: World, node: str, ingress: frozenset[str]) -> frozenset[str]:
    """The networks that a node takes part in."""
    own = {net for view in _assigned(world, node) for net in view.task.addresses}
    return ingress | own


def items_for(world: World, node: str, networks: frozenset[str]) -> Items:
    """Everything the node must know, but for contents."""
    found: list[Item] = []
    for member in world.all(Node):
        found += _some(_node(world, member.id))
    for network in sorted(networks):
        found += _some(_network(world, network))
    for task in world.all(Task):
        found += _attachments(world, task.id, networks)
    for view in _assigned(world, node):
        found += _some(_task(world, view))
    for entry in world.all(TrafficEntry):
        found += _some(_traffic(world, entry.key, networks))
    for binding in world.all(VolumeBinding):
        found += _some(_volume(world, binding.key, node))
    return {place(item): item for item in found}


def changed_items(
    world: World, node: str, networks: frozenset[str], refs: Iterable[Ref], known: Items
) -> Update:
    """What the changes at `refs` make of the items of a node whose networks stay the same."""
    update: Update = {}
    for ref in refs:
        key = ref.key
        if ref.table in (Node.TABLE, NodeStatus.TABLE):
            _set(update, NodeItem, key, _node(world, key))
        elif ref.table == Network.TABLE and key in networks:
            _set(update, NetworkItem, key, _network(world, key))
        elif ref.table == TrafficEntry.TABLE:
            _set(update, TrafficItem, key, _traffic(world, key, networks))
        elif ref.table == VolumeBinding.TABLE and key.endswith(f"/{node}"):
            _set(update, VolumeItem, key.removesuffix(f"/{node}"), _volume(world, key, node))
        elif ref.table in (Task.TABLE, TaskDesired.TABLE, TaskStatus.TABLE):
            _task_changed(update, world, (node, key), networks)
    return {ref: item for ref, item in update.items() if known.get(ref) != item}


def _task_changed(
    update: Update, world: World, place_of: tuple[str, str], networks: frozenset[str]
) -> None:
    node, task = place_of
    attached = {item.network: item for item in _attachments(world, task, networks)}
    for network in networks:
        _set(update, AttachmentItem, f"{task}/{network}", attached.get(network))
    view = world.task(task)
    own = view is not None and view.task.node == node and _is_assigned(view)
    _set(update, TaskItem, task, _task(world, view) if own and view is not None else None)


def _set(update: Update, kind: type[Item], key: str, item: Item | None) -> None:
    update[ItemRef(kind=kind.KIND, key=key)] = item


def difference(known: Items, wanted: Mapping[ItemRef, Item]) -> Update:
    """What turns `known` into `wanted`."""
    update: Update = {ref: item for ref, item in wanted.items() if known.get(ref) != item}
    update.update({ref: None for ref in known if ref not in wanted})
    return update


def granted(items: Iterable[Item]) -> frozenset[str]:
    """Keys of the contents that these tasks may have, and of the certificates that every node
    needs which answers for a service."""
    found: set[str] = set()
    for item in items:
        match item:
            case TaskItem():
                found.update(item.contents.values())
            case TrafficItem() if item.entry.tls:
                found.add(item.entry.tls)
            case _:
                pass
    return frozenset(found)


def content_parts(key: str) -> tuple[ContentKind, str, str]:
    """(kind, name, version) of a content's key."""
    kind, name, version = key.split("/")
    return ContentKind(kind), name, version


def content_item(key: str, value: bytes) -> ContentItem:
    """The item of an opened content."""
    kind, name, version = content_parts(key)
    return ContentItem(kind=kind, name=name, version=version, value=value)


def _some(item: Item | None) -> list[Item]:
    return [] if item is None else [item]


def _is_assigned(view: TaskView) -> bool:
    return TaskState.ASSIGNED <= view.status.state < TaskState.COMPLETE


def _assigned(world: World, node: str) -> list[TaskView]:
    return [view for view in world.tasks_on(node) if _is_assigned(view)]


def _node(world: World, key: str) -> NodeItem | None:
    member, status = world.get(Node, key), world.get(NodeStatus, key)
    if member is None or status is None or not status.address:
        return None
    return NodeItem(id=key, name=member.name, index=member.index, address=status.address)


def _network(world: World, key: str) -> NetworkItem | None:
    network = world.get(Network, key)
    # The allocator's cursor moves with every address; nodes have no use for it.
    return None if network is None else NetworkItem(network=_without_cursor(network))


def _without_cursor(network: Network) -> Network:
    if not network.cursor:
        return network
    return Network(
        id=network.id,
        name=network.name,
        stack=network.stack,
        vni=network.vni,
        subnet=network.subnet,
        internal=network.internal,
        attachable=network.attachable,
        mtu=network.mtu,
        labels=network.labels,
    )


def _attachments(world: World, key: str, networks: frozenset[str]) -> list[AttachmentItem]:
    view = world.task(key)
    if view is None or not view.task.node or not _is_assigned(view):
        return []
    task = view.task
    return [
        AttachmentItem(
            task=task.id,
            network=network,
            address=address,
            node=task.node,
            stack=task.stack,
            service=task.service,
            slot=task.slot,
        )
        for network, address in task.addresses.items()
        if network in networks
    ]


def _traffic(world: World, key: str, networks: frozenset[str]) -> TrafficItem | None:
    entry = world.get(TrafficEntry, key)
    if entry is None or not (entry.ports or networks & entry.vips.keys()):
        return None
    return TrafficItem(entry=entry, revision=world.rev(TrafficEntry.TABLE, key))


def _volume(world: World, key: str, node: str) -> VolumeItem | None:
    binding = world.get(VolumeBinding, key)
    if binding is None or binding.node != node or not binding.removing:
        return None
    return VolumeItem(name=binding.name, asked=binding.removing)


def _task(world: World, view: TaskView) -> TaskItem | None:
    task, desired = view.task, view.desired
    revision = world.get(Revision, f"{task.stack}/{task.service}/{task.revision}")
    if revision is None:
        return None
    spec = _spec_of(world, task, revision)
    names = _Names(task.stack, spec)
    contents = names.contents(ContentKind.CONFIG, revision.container.configs)
    contents |= names.contents(ContentKind.SECRET, revision.container.secrets)
    volumes = {m.source: names.volume(m.source) for m in revision.container.mounts if m.source}
    return TaskItem(
        task=task,
        # How far it has left the traffic is no business of the node's.
        desired=TaskDesired(id=desired.id, state=desired.state, reason=desired.reason),
        revision=revision,
        volumes={local: name for local, name in volumes.items() if not local.startswith("/")},
        contents=contents,
    )


def _spec_of(world: World, task: Task, revision: Revision) -> StackSpec | None:
    """The newest release that has the task's revision: its names are the ones meant. Those above
    the current one were left by going back."""
    head = world.get(Stack, task.stack)
    if head is None:
        return None
    older = range(head.release, max(0, head.release - OLDER_RELEASES), -1)
    newer = range(head.release + 1, head.release + NEWER_RELEASES)
    for number in (*older, *newer):
        release = world.get(Release, f"{task.stack}/{number:08d}")
        service = release.services.get(task.service) if release else None
        if release is not None and service is not None and service.revision == task.revision:
            return release.spec
    named = world.release(task.stack, revision.release) if revision.release else None
    return named.spec if named else None


class _Names:
    """Cluster-wide names of what a stack file calls by short ones."""

    def __init__(self, stack: str, spec: StackSpec | None) -> None:
        self._stack = stack
        self._spec = spec or StackSpec(name=stack, services={})

    def volume(self, local: str) -> str:
        found = self._spec.volumes.get(local)
        return found.name if found else f"{self._stack}_{local}"

    def contents(self, kind: ContentKind, grants: Iterable[Grant]) -> dict[str, str]:
        known = self._spec.configs if kind is ContentKind.CONFIG else self._spec.secrets
        named = {}
        for grant in grants:
            found = known.get(grant.name)
            name = found.name if found else f"{self._stack}_{grant.name}"
            named[f"{kind}/{grant.name}"] = f"{kind}/{name}/{grant.version}"
        return named
