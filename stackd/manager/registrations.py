"""Which nodes are heard: registration with a growing epoch, and DOWN after three silent beats.

A broken session alone is not DOWN: the agent has until the third beat to come back. Written to the
store only when something changes. Used by `manager.dispatcher`.
"""

import logging
from collections.abc import Callable

import msgspec

from stackd.core.model.ids import NodeId
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.record import Changes, Put, ref
from stackd.core.model.states import NodeState
from stackd.errors import Conflict, Refused
from stackd.manager.loop import Context
from stackd.wire.messages import Hello

_log = logging.getLogger(__name__)
MISSED = 3
TRIES = 5


class Registrations:
    """Held by a leading dispatcher. `heartbeat` in seconds; `lost` is told of each node that is
    declared DOWN: its session must end, so that it registers anew when it is back."""

    def __init__(self, context: Context, heartbeat: float, lost: Callable[[str], None]) -> None:
        self._context = context
        self._heartbeat = heartbeat
        self._lost = lost
        now = context.clock.now()
        ready = [s for s in context.tables.world.all(NodeStatus) if s.state is NodeState.READY]
        self._heard: dict[str, float] = {status.id: now for status in ready}

    def heard(self, node: str) -> None:
        """A message came from this node."""
        self._heard[node] = self._context.clock.now()

    def silent(self, node: str) -> float:
        """Seconds since the node was heard; infinite if it never was."""
        return self._context.clock.now() - self._heard.get(node, float("-inf"))

    async def register(self, hello: Hello) -> int:
        """The node is READY with a new epoch, which is returned. Raises Refused when it is not a
        member, Unavailable when the store does not answer."""
        tables, node = self._context.tables, hello.node_id
        for _ in range(TRIES):
            old = tables.world.get(NodeStatus, node)
            status = NodeStatus(
                id=NodeId(hello.node_id),
                state=NodeState.READY,
                address=hello.address,
                since=old.since
                if old and old.state is NodeState.READY
                else self._context.clock.now(),
                epoch=max(old.epoch if old else 0, hello.epoch) + 1,
                cpus=hello.cpus,
                memory=hello.memory,
                os=hello.os,
                arch=hello.arch,
                engine_labels=hello.labels,
                version=hello.version,
            )
            if tables.world.get(Node, node) is None:
                raise Refused(
                    f"Node {node} is not a member of this cluster.", "Join it with a new token."
                )
            changes = Changes(changes=(Put(record=status),), relies=(ref(Node, node),))
            try:
                await tables.commit(changes, self._context.fence)
            except Conflict:
                continue
            self.heard(node)
            return status.epoch
        raise Conflict(f"The state of node {node} keeps changing.")

    async def watch(self) -> None:
        """Declare silent nodes DOWN, until cancelled. Raises Unavailable, Corrupt."""
        while True:
            await self._context.clock.sleep(self._heartbeat / 2)
            for status in list(self._context.tables.world.all(NodeStatus)):
                limit = MISSED * self._heartbeat
                if status.state is NodeState.READY and self.silent(status.id) > limit:
                    await self._down(status, limit)

    async def _down(self, status: NodeStatus, limit: float) -> None:
        _log.warning("node %s is down: not heard for %.1f s", status.id, limit)
        changed = msgspec.structs.replace(
            status,
            state=NodeState.DOWN,
            since=self._context.clock.now(),
            message=f"not heard for {limit:g}s",
        )
        try:
            await self._context.tables.commit(
                Changes(changes=(Put(record=changed),)), self._context.fence
            )
        except Conflict:
            _log.info("node %s: its state changed meanwhile", status.id)
            return
        self._lost(status.id)
