"""Facts that several deciders must see alike: which nodes a service may use, how many it wants.

In the model because deciders do not import each other: the scheduler places by these rules, the
orchestrator and the rollouts count the nodes of a global service by them.
"""

import ipaddress
from typing import NamedTuple

from stackd.core.model.ids import service_key
from stackd.core.model.network import VolumeBinding
from stackd.core.model.node import Node, NodeReport, NodeStatus
from stackd.core.model.release import Override
from stackd.core.model.stack import Constraint, Mode, Placement, ServiceSpec
from stackd.core.model.states import Availability, NodeState
from stackd.core.model.task import Task
from stackd.core.model.world import TaskView, World


class NodeView(NamedTuple):
    """A node as it is set and as it was last heard; never heard reads as unknown."""

    node: Node
    status: NodeStatus

    @property
    def open(self) -> bool:
        """New tasks may be placed here."""
        return (
            self.status.state is NodeState.READY and self.node.availability is Availability.ACTIVE
        )

    @property
    def keeps(self) -> bool:
        """Tasks that are here may stay: not lost, not being drained."""
        down = self.status.state is NodeState.DOWN
        return not down and self.node.availability is not Availability.DRAIN


def node_view(world: World, node_id: str) -> NodeView | None:
    """A node with its status, or None if it is unknown."""
    node = world.get(Node, node_id)
    if node is None:
        return None
    status = world.get(NodeStatus, node_id)
    return NodeView(node, status or NodeStatus(id=node.id, state=NodeState.UNKNOWN))


def node_views(world: World) -> list[NodeView]:
    """All nodes, by id."""
    found = (node_view(world, node.id) for node in world.all(Node))
    return [view for view in found if view is not None]


def fact(view: NodeView, key: str) -> str | None:
    """The value of a constraint or preference key on a node; None = the node has none."""
    node, status = view
    match key:
        case "node.id":
            return node.id
        case "node.hostname":
            return node.name
        case "node.role":
            return node.role.value
        case "node.ip":
            return status.address
        case "node.platform.os":
            return status.os
        case "node.platform.arch":
            return status.arch
    for prefix, labels in (
        ("node.labels.", node.labels),
        ("engine.labels.", status.engine_labels),
    ):
        if key.startswith(prefix):
            return labels.get(key[len(prefix) :])
    return None


def matches(view: NodeView, constraint: Constraint) -> bool:
    """Whether a node meets one constraint. Values compare without case; addresses by CIDR."""
    value = fact(view, constraint.key)
    if constraint.key == "node.ip":
        return _in_subnet(value or "", constraint.value) is constraint.equal
    same = value is not None and value.casefold() == constraint.value.casefold()
    return same is constraint.equal


def _in_subnet(address: str, subnet: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(subnet, strict=False)
    except ValueError:
        return False


def fits(view: NodeView, placement: Placement) -> bool:
    """Whether a node meets all constraints."""
    return all(matches(view, constraint) for constraint in placement.constraints)


def global_nodes(world: World, spec: ServiceSpec) -> list[str]:
    """Ids of the nodes a global service runs on: open ones that fit."""
    return [v.node.id for v in node_views(world) if v.open and fits(v, spec.placement)]


def aside(world: World, view: TaskView, spec: ServiceSpec) -> bool:
    """A global service's task on a node that is paused: it stays as it is, is not counted, and no
    rollout replaces it, because the replacement would be something new there."""
    if spec.mode is not Mode.GLOBAL or view.task.slot != view.task.node:
        return False
    node = node_view(world, view.task.node)
    paused = node is not None and node.node.availability is Availability.PAUSE
    return paused and node is not None and fits(node, spec.placement)


def replicas(world: World, stack: str, spec: ServiceSpec) -> int:
    """Tasks wanted of a service now: by hand if that still holds, else as declared; for a global
    service one for each node it runs on."""
    if spec.mode is Mode.GLOBAL:
        return len(global_nodes(world, spec))
    override = world.get(Override, service_key(stack, spec.name))
    if override is not None and override.declared == spec.replicas:
        return override.replicas
    return spec.replicas


def lost(world: World, view: TaskView) -> bool:
    """The task's node is down: what it last reported says nothing."""
    status = world.get(NodeStatus, view.task.node) if view.task.node else None
    return status is not None and status.state is NodeState.DOWN


def cut_off(world: World, view: TaskView) -> bool:
    """The task's node is down and another is heard: nothing that is sent there arrives. When no
    node is heard, it is rather the manager that hears nothing: what runs may serve on."""
    return lost(world, view) and anybody_heard(world)


def slot_name(task: Task) -> str:
    """How a volume binding names a slot."""
    return f"{task.stack}/{task.service}.{task.slot}"


def bound(world: World, task: Task) -> str:
    """The named volume that keeps the task's slot on the node it is on; '' when none does."""
    name = slot_name(task)
    for binding in world.all(VolumeBinding):
        if binding.node == task.node and name in binding.slots and not binding.removing:
            return binding.name
    return ""


def anybody_heard(world: World) -> bool:
    """Some node is heard."""
    return any(status.state is NodeState.READY for status in world.all(NodeStatus))


def carriers(world: World) -> list[NodeReport]:
    """The reports of the nodes that may carry traffic, an empty one where none has come yet.
    Nodes that are down carry nothing that could be waited for; those not heard since a new
    leader began may."""
    return [
        world.get(NodeReport, status.id) or NodeReport(id=status.id)
        for status in world.all(NodeStatus)
        if status.state is NodeState.READY
        or (status.state is NodeState.UNKNOWN and status.epoch > 0)
    ]
