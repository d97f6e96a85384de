"""Which services and tasks a change concerns. Used by the loops that decide key by key."""

from collections.abc import Iterator

from stackd.core.model.analysis import Analysis
from stackd.core.model.decision import Dirty
from stackd.core.model.ids import service_key
from stackd.core.model.network import ServiceAddresses
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.record import Ref
from stackd.core.model.release import Freeze, Hold, Override, Stack
from stackd.core.model.rollout import ServiceState, ToggleState
from stackd.core.model.stack import Mode
from stackd.core.model.states import NodeState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.toggle import ToggleOverride
from stackd.core.model.world import World

TASK_TABLES = (Task.TABLE, TaskDesired.TABLE, TaskStatus.TABLE)
_NODE_TABLES = (Node.TABLE, NodeStatus.TABLE)
_SERVICE_TABLES = (
    ServiceState.TABLE,
    ToggleState.TABLE,
    Override.TABLE,
    ToggleOverride.TABLE,
    ServiceAddresses.TABLE,
    Analysis.TABLE,
    Hold.TABLE,
)
"""Their keys begin with `STACK/SERVICE`."""


def declared(world: World, stack: str) -> set[str]:
    """`STACK/SERVICE` of what the current release declares."""
    release = world.release(stack)
    return {service_key(stack, name) for name in (release.services if release else ())}


def all_services(world: World) -> set[str]:
    """Every service that is declared, has a state or has tasks."""
    found = {state.key for state in world.all(ServiceState)} | set(world.services_with_tasks())
    for stack in world.all(Stack):
        found |= declared(world, stack.name)
    return found


def of_stack(world: World, stack: str) -> set[str]:
    """Every service of one stack that is declared, has a state or has tasks."""
    states = {s.key for s in world.all(ServiceState) if s.stack == stack}
    tasks = {service_key(stack, view.task.service) for view in world.tasks_of_stack(stack)}
    return declared(world, stack) | states | tasks


def services(world: World, dirty: Dirty) -> set[str]:
    """`STACK/SERVICE` of every service that a change concerns."""
    if dirty.everything:
        return all_services(world)
    found: set[str] = set()
    for changed in dirty.refs:
        found.update(_services_of(world, changed))
    return found


def _services_of(world: World, changed: Ref) -> Iterator[str]:
    if changed.table in TASK_TABLES:
        task = world.get(Task, changed.key)
        if task is not None:
            yield service_key(task.stack, task.service)
    elif changed.table in _SERVICE_TABLES:
        yield "/".join(changed.key.split("/")[:2])
    elif changed.table == Freeze.TABLE and changed.key == Freeze.ALL:
        yield from all_services(world)
    elif changed.table in (Stack.TABLE, Freeze.TABLE):
        yield from of_stack(world, changed.key)
    elif changed.table in _NODE_TABLES:
        yield from _services_of_node(world, changed.key)


def _services_of_node(world: World, node: str) -> Iterator[str]:
    """Those with tasks on the node, and every global one."""
    for view in world.tasks_on(node):
        yield service_key(view.task.stack, view.task.service)
    for stack in world.all(Stack):
        release = world.release(stack.name)
        for name, service in release.services.items() if release else ():
            if service.spec.mode is Mode.GLOBAL:
                yield service_key(stack.name, name)


def tasks(world: World, dirty: Dirty) -> set[str]:
    """Ids of the tasks whose deadlines a change concerns."""
    if dirty.everything:
        return {task.id for task in world.all(Task)}
    found: set[str] = set()
    for changed in dirty.refs:
        if changed.table in TASK_TABLES:
            found.add(changed.key)
        elif changed.table == ServiceState.TABLE:
            stack, service = changed.key.split("/", 1)
            found.update(view.task.id for view in world.tasks_of(stack, service) if view.live)
        elif changed.table in _NODE_TABLES:
            lost = {s.id for s in world.all(NodeStatus) if s.state is NodeState.DOWN}
            for node in lost | {changed.key}:
                found.update(view.task.id for view in world.tasks_on(str(node)) if view.live)
    return found
