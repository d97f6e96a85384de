"""What is no longer declared goes: tasks first, then a service's records, then the stack's.

Called by `service` for a service that no release declares, and by the rollouts loop for a stack
that is being removed.
"""

from collections.abc import Iterator

import msgspec

from stackd.core.model.analysis import Analysis
from stackd.core.model.decision import Decision
from stackd.core.model.draft import Draft, Ids
from stackd.core.model.ids import service_key
from stackd.core.model.network import Network, ServiceAddresses, VolumeBinding
from stackd.core.model.node import NodeStatus
from stackd.core.model.record import Delete, Record, Ref, ref
from stackd.core.model.release import (
    ContentHead,
    ContentVersion,
    Digest,
    Freeze,
    Hold,
    Override,
    Release,
    Revision,
    Stack,
)
from stackd.core.model.rollout import RolloutPhase, ServiceState, ToggleState
from stackd.core.model.states import NodeState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.toggle import ToggleOverride
from stackd.core.model.world import World
from stackd.core.rollout.common import UNSTEERED

_UNDER_WAY = (RolloutPhase.WAITING, RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK)


def service(world: World, stack: str, name: str, draft: Draft) -> Decision:
    """Ask all tasks of a service to go; when none is left, forget the service."""
    key = service_key(stack, name)
    state = world.get(ServiceState, key)
    head = world.get(Stack, stack)
    if state is not None and state.counts:
        if head is not None and not head.removing and _others_move(world, stack, name):
            return draft.decision()
        event = draft.event("service.removing", key, "it is no longer declared")
        empty = msgspec.structs.replace(state, counts={}, rollout=None, steering=UNSTEERED)
        draft.group([empty, event], [ref(Stack, stack)])
        return draft.decision()
    views = world.tasks_of(stack, name)
    if any(view.live for view in views):
        return draft.decision()
    for view in views:
        draft.group([Delete(ref=ref(table, view.task.id)) for table in _TASK])
    rest = [Delete(ref=r) for r in _service_records(world, stack, name)]
    if rest and not views:
        event = draft.event("service.removed", key, "its last task has ended")
        draft.group([*rest, event], [ref(Stack, stack)])
    return draft.decision()


_TASK: tuple[type[Record], ...] = (Task, TaskDesired, TaskStatus)


def _others_move(world: World, stack: str, name: str) -> bool:
    """Removal comes last: other services of the stack are still being changed, or are about to."""
    release = world.release(stack)
    for other, declared in release.services.items() if release else ():
        state = world.get(ServiceState, service_key(stack, other))
        if other == name:
            continue
        waits = state is not None and state.rollout is not None and state.rollout.waits
        if state is None or (
            state.rollout is not None and state.rollout.phase in _UNDER_WAY and not waits
        ):
            return True
        held = world.get(Hold, f"{stack}/{other}/{declared.revision}") is not None
        paused = waits or (state.rollout is not None and state.rollout.phase is RolloutPhase.PAUSED)
        if state.stable != declared.revision and not held and not paused:
            return True
    return False


def _service_records(world: World, stack: str, name: str) -> Iterator[Ref]:
    key = service_key(stack, name)
    singles: tuple[type[Record], ...] = (
        ServiceState,
        ServiceAddresses,
        Override,
        Digest,
        Analysis,
    )
    for table in singles:
        if world.get(table, key) is not None:
            yield ref(table, key)
    for hold in world.all(Hold):
        if hold.stack == stack and hold.service == name:
            yield ref(Hold, hold.key)
    for override in world.all(ToggleOverride):
        if override.stack == stack and override.service == name:
            yield ref(ToggleOverride, override.key)


def stack(world: World, name: str, now: float, ids: Ids) -> Decision:
    """Forget a stack that is being removed, once no service and no task of it is left."""
    draft = Draft(now, ids)
    head = world.get(Stack, name)
    if head is None or not head.removing:
        return draft.decision()
    if world.tasks_of_stack(name) or any(s.stack == name for s in world.all(ServiceState)):
        return draft.decision()
    volumes = [b for b in world.all(VolumeBinding) if b.stack == name and head.remove_volumes]
    for binding in volumes:
        if not binding.removing:
            draft.group([msgspec.structs.replace(binding, removing=now)], [ref(Stack, name)])
    if any(_is_ready(world, binding.node) for binding in volumes):
        return draft.decision()
    rest = list(_stack_records(world, head))
    for place in rest:
        draft.group([Delete(ref=place)])
    if not rest:
        event = draft.event("stack.removed", name, "nothing of it is left")
        draft.group([Delete(ref=ref(Stack, name)), event])
    return draft.decision()


def _is_ready(world: World, node: str) -> bool:
    """Whether a node can be waited for; one that is down removes its volumes when it is back."""
    status = world.get(NodeStatus, node)
    return status is not None and status.state is NodeState.READY


def _stack_records(world: World, head: Stack) -> Iterator[Ref]:
    owned: tuple[type[Record], ...] = (
        Freeze,
        Hold,
        Override,
        Release,
        Revision,
        Digest,
        Network,
        ServiceAddresses,
        ContentHead,
        ContentVersion,
        Analysis,
        ToggleState,
    )
    for table in owned:
        for record in world.all(table):
            if getattr(record, "stack", "") == head.name:
                yield ref(table, record.key)
