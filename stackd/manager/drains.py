"""The loop that lets tasks leave the traffic before they stop, on the word of every node.

Run by the leader; decided in `core.traffic.drain`, which says the stages. Node reports are in
memory only: after a change of leader the agents send them again.
"""

from collections.abc import Iterator

from stackd.core.model.decision import Decision, Dirty
from stackd.core.model.node import NodeReport, NodeStatus
from stackd.core.model.task import TaskDesired, TaskStatus
from stackd.core.model.traffic import TrafficEntry
from stackd.core.model.world import World
from stackd.core.traffic import drain
from stackd.manager.loop import ControlLoop


def _decide(world: World, dirty: Dirty, now: float, ids: Iterator[str]) -> Decision:
    return drain.decide(world, dirty, now, lambda: next(ids))


LOOP = ControlLoop(
    name="drains",
    watches=(TaskDesired, TaskStatus, TrafficEntry, NodeStatus, NodeReport),
    decide=_decide,
)
