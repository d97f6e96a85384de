"""The loop that keeps the traffic table: services, tasks and weights -> entries.

Run by the leader; decided in `core.traffic.table`. The dispatcher sends the entries to the nodes.
"""

from collections.abc import Iterator

from stackd.core.model.decision import Decision, Dirty
from stackd.core.model.network import Network, ServiceAddresses
from stackd.core.model.node import NodeStatus
from stackd.core.model.release import ContentHead, Stack
from stackd.core.model.rollout import ServiceState, ToggleState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.toggle import ToggleOverride
from stackd.core.model.traffic import TrafficEntry
from stackd.core.model.world import World
from stackd.core.traffic import table
from stackd.manager.loop import ControlLoop


def _decide(world: World, dirty: Dirty, now: float, ids: Iterator[str]) -> Decision:
    return table.decide(world, dirty, now, lambda: next(ids))


LOOP = ControlLoop(
    name="traffic",
    watches=(
        Task,
        TaskDesired,
        TaskStatus,
        ServiceState,
        ServiceAddresses,
        Stack,
        ContentHead,
        Network,
        NodeStatus,
        TrafficEntry,
        ToggleOverride,
        ToggleState,
    ),
    decide=_decide,
)
