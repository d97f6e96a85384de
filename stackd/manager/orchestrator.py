"""The orchestrator loop: makes the counts of every service true (`core.orchestrate.service`)."""

from stackd.core.model.decision import Decision
from stackd.core.model.draft import Ids
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.release import Override, Stack
from stackd.core.model.rollout import ServiceState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.world import World
from stackd.core.orchestrate import service
from stackd.manager import concerned
from stackd.manager.keyed import Keyed
from stackd.manager.loop import ControlLoop

WATCHES = (ServiceState, Stack, Override, Task, TaskDesired, TaskStatus, Node, NodeStatus)


def orchestrator() -> ControlLoop:
    """The loop, for one term of a leader."""
    return ControlLoop("orchestrator", WATCHES, Keyed(concerned.services, _decide))


def _decide(world: World, key: str, now: float, ids: Ids) -> Decision:
    stack, name = key.split("/", 1)
    return service.decide(world, stack, name, now, ids)
