"""Nodes: `node ls|inspect|drain|activate|pause|label`."""

import re
from collections.abc import Mapping

import msgspec

from stackd.core.model.api import NameRequest, NodeRequest, NodeRow, NodeRows
from stackd.core.model.event import Event
from stackd.core.model.node import Node, NodeReport, NodeStatus
from stackd.core.model.record import Changes, Put
from stackd.core.model.states import Availability
from stackd.errors import Conflict, Refused
from stackd.manager.api import names
from stackd.manager.loop import Context
from stackd.wire.control import Caller

TRIES = 5
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?")


def _natural(name: str) -> tuple[str, int]:
    """node10 comes after node9."""
    head = name.rstrip("0123456789")
    return head, int(name[len(head) :] or 0)


class NodeApi:
    """Handlers about nodes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tables = context.tables

    async def list(self, request: NameRequest, caller: Caller) -> NodeRows:
        """Every node, by name."""
        nodes = sorted(self._tables.world.all(Node), key=lambda n: _natural(n.name))
        heard = tuple(report.id for report in self._tables.world.all(NodeReport))
        return NodeRows(nodes=tuple(map(self._row, nodes)), heard=heard)

    async def inspect(self, request: NameRequest, caller: Caller) -> NodeRows:
        """One node, by name or id."""
        return NodeRows(nodes=(self._row(names.node_of(self._tables.world, request.name)),))

    async def update(self, request: NodeRequest, caller: Caller) -> NodeRows:
        """Change what the operator sets: availability, labels."""
        for _ in range(TRIES):
            node = names.node_of(self._tables.world, request.name)
            wanted = _changed(node, request)
            if wanted == node:
                return NodeRows(nodes=(self._row(node),))
            event = Event(
                id=next(self._context.ids),
                at=self._context.clock.now(),
                kind="node.changed",
                object=node.name,
                principal=caller.principal,
                text=f"{node.name}: {wanted.availability}, labels {_shown(wanted.labels)}",
            )
            changes = Changes(changes=(Put(record=wanted), Put(record=event)))
            try:
                await self._tables.commit(changes, self._context.fence)
            except Conflict:
                continue
            return NodeRows(nodes=(self._row(wanted),))
        raise Conflict(f"Node {request.name} keeps changing.", "Try again.")

    def _row(self, node: Node) -> NodeRow:
        world = self._tables.world
        status = world.get(NodeStatus, node.id)
        return NodeRow(
            id=node.id,
            name=node.name,
            role=node.role.value,
            availability=node.availability.value,
            state=status.state.value if status else "unknown",
            address=status.address if status else "",
            tasks=sum(view.live for view in world.tasks_on(node.id)),
        )


def _changed(node: Node, request: NodeRequest) -> Node:
    """The node as asked for. Raises Refused for what is no label or availability."""
    labels = dict(node.labels)
    for key, value in request.labels.items():
        if not _LABEL.fullmatch(key) or not (value or "").isprintable():
            raise Refused(f"{key!r} is not a label.", "Example: stackd node label node1 disk=ssd")
        if value is None:
            labels.pop(key, None)
        else:
            labels[key] = value
    try:
        availability = Availability(request.availability or node.availability)
    except ValueError as error:
        raise Refused(
            f"{request.availability} is no availability.", "It is active, pause or drain."
        ) from error
    return msgspec.structs.replace(node, labels=labels, availability=availability)


def _shown(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or "none"
