"""The rollouts loop: takes every service to its declared revision (`core.rollout.service`), its
toggles to their declared shares (`core.rollout.growing`), and what is no longer declared out of the
store (`core.rollout.removal`)."""

from stackd.core.model.analysis import Analysis
from stackd.core.model.decision import Decision, Dirty
from stackd.core.model.draft import Ids, join
from stackd.core.model.network import VolumeBinding
from stackd.core.model.node import Node, NodeReport, NodeStatus
from stackd.core.model.release import Freeze, Hold, Override, Stack
from stackd.core.model.rollout import ServiceState, ToggleState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.toggle import ToggleOverride
from stackd.core.model.traffic import TrafficEntry
from stackd.core.model.world import World
from stackd.core.rollout import growing, removal, service
from stackd.manager import concerned
from stackd.manager.keyed import Keyed
from stackd.manager.loop import ControlLoop

WATCHES = (
    ServiceState,
    ToggleState,
    Stack,
    Override,
    ToggleOverride,
    Hold,
    Freeze,
    Task,
    TaskDesired,
    TaskStatus,
    Node,
    NodeStatus,
    VolumeBinding,
    TrafficEntry,
    NodeReport,
    Analysis,
)
_ACKS = (TrafficEntry.TABLE, NodeReport.TABLE)
"""Concern only services that change: those wait until every node has applied something."""


def rollouts() -> ControlLoop:
    """The loop, for one term of a leader."""
    return ControlLoop("rollouts", WATCHES, Keyed(_keys, _decide))


def _keys(world: World, dirty: Dirty) -> set[str]:
    """Services concerned; all of a stack when one of it has moved (dependencies, removal); those
    that change, when a node says what it has applied; and `STACK/` for each stack that is being
    removed."""
    acks = {r for r in dirty.refs if r.table in _ACKS}
    moving = set(world.moving()) if acks else set[str]()
    if acks and len(acks) == len(dirty.refs):
        return moving
    found = concerned.services(world, dirty) | moving
    moved = {r.key.split("/", 1)[0] for r in dirty.refs if r.table == ServiceState.TABLE}
    for stack in moved:
        found |= concerned.of_stack(world, stack)
    for head in world.all(Stack):
        if head.removing:
            found |= {f"{head.name}/"} | concerned.of_stack(world, head.name)
    return found


def _decide(world: World, key: str, now: float, ids: Ids) -> Decision:
    stack, name = key.split("/", 1)
    if not name:
        return removal.stack(world, stack, now, ids)
    found = service.decide(world, stack, name, now, ids)
    return join([found, growing.decide(world, stack, name, now, ids)])
