"""Nodes: `node ls`, `node inspect`."""

from stackd.core.model.api import NameRequest, NodeRow, NodeRows
from stackd.core.model.node import Node, NodeStatus
from stackd.errors import Refused
from stackd.store.tables import Tables
from stackd.wire.control import Caller


class NodeApi:
    """Handlers about nodes."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def list(self, request: NameRequest, caller: Caller) -> NodeRows:
        """Every node."""
        return NodeRows(nodes=tuple(self._row(n) for n in self._tables.world.all(Node)))

    async def inspect(self, request: NameRequest, caller: Caller) -> NodeRows:
        """One node, by name or id."""
        for node in self._tables.world.all(Node):
            if request.name in (node.name, node.id):
                return NodeRows(nodes=(self._row(node),))
        raise Refused(f"There is no node {request.name}.", "See: stackd node ls")

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
