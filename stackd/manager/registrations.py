"""Which nodes are heard: registration with a growing epoch, and DOWN after three missed heartbeats.

A broken session alone is not DOWN: the agent has until then to come back. Written to the
store only when something changes. Time in which this manager itself stood still counts for nobody.
What a node last said of its traffic is forgotten when it goes and when it comes: it says it again.
Used by `manager.dispatcher`.
"""

import logging
from collections.abc import Callable

import msgspec

from stackd.core.model.event import Event
from stackd.core.model.ids import NodeId
from stackd.core.model.node import Node, NodeReport, NodeStatus
from stackd.core.model.record import Changes, Put, ref
from stackd.core.model.states import NodeState
from stackd.errors import Conflict, Refused
from stackd.manager.loop import Context
from stackd.wire.messages import Hello

_log = logging.getLogger(__name__)
MISSED = 3.2
"""Heartbeats: three, and the time that a node needs to be heard again after a gap of almost three.
With the default of 5 s a node is down 16 s after its last word."""
TRIES = 5
SHORTEST = 0.01
"""Seconds between two looks, at least."""


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
            tables.forget(NodeReport, node)
            try:
                await self._write(status, old)
            except Conflict:
                continue
            self.heard(node)
            return status.epoch
        raise Conflict(f"The state of node {node} keeps changing.")

    async def _write(self, status: NodeStatus, old: NodeStatus | None) -> None:
        """The status, with an event when the node has come or gone. Raises Conflict."""
        context = self._context
        node = context.tables.world.get(Node, status.id)
        changes: list[Put] = [Put(record=status)]
        if old is None or old.state is not status.state:
            event = Event(
                id=next(context.ids),
                at=context.clock.now(),
                kind=f"node.{status.state.value}",
                object=node.name if node else status.id,
                principal="manager",
                text=status.message,
            )
            changes.append(Put(record=event))
        relies = (ref(Node, status.id),)
        await context.tables.commit(Changes(changes=tuple(changes), relies=relies), context.fence)

    async def watch(self) -> None:
        """Declare silent nodes DOWN, until cancelled. Raises Unavailable, Corrupt."""
        clock, limit = self._context.clock, MISSED * self._heartbeat
        while True:
            ready = [
                status
                for status in self._context.tables.world.all(NodeStatus)
                if status.state is NodeState.READY
            ]
            for status in ready:
                if self.silent(status.id) >= limit:
                    await self._down(status, limit)
            rest = [limit - silent for s in ready if (silent := self.silent(s.id)) < limit]
            pause = max(SHORTEST, min([self._heartbeat / 2, *rest]))
            before = clock.now()
            await clock.sleep(pause)
            self._forgive(clock.now() - before - pause)

    def _forgive(self, late: float) -> None:
        """This manager stood still: what came meanwhile has still to be read."""
        if late > self._heartbeat / 2:
            _log.warning("stood still for %.1f s", late)
            self._heard = {node: at + late for node, at in self._heard.items()}

    async def _down(self, status: NodeStatus, limit: float) -> None:
        _log.warning("node %s is down: not heard for %.1f s", status.id, limit)
        changed = msgspec.structs.replace(
            status,
            state=NodeState.DOWN,
            since=self._context.clock.now(),
            message=f"not heard for {limit:g}s",
        )
        try:
            await self._write(changed, status)
        except Conflict:
            _log.info("node %s: its state changed meanwhile", status.id)
            return
        self._context.tables.forget(NodeReport, status.id)
        self._lost(status.id)
