"""What a name on the command line means: a stack, a service, a task or a node."""

from stackd.core.model.node import Node
from stackd.core.model.release import Stack
from stackd.core.model.rollout import ServiceState
from stackd.core.model.world import TaskView, World
from stackd.core.rollout import places
from stackd.errors import Refused, Unknown


def stack_of(world: World, name: str) -> Stack:
    """The stack called `name`. Raises Refused."""
    found = world.get(Stack, name)
    if found is None:
        services = sorted(k for k in _all_services(world) if k.endswith(f"/{name}"))
        meant = f"Did you mean {' or '.join(services)}?" if services else "See: stackd ls"
        raise Unknown(f"There is no stack {name}.", meant)
    return found


def _all_services(world: World) -> set[str]:
    return {
        f"{stack.name}/{service}"
        for stack in world.all(Stack)
        for service in service_names(world, stack.name)
    }


def check_word(world: World, word: str, *, nodes: bool = False) -> None:
    """Raises Refused, listing them, when a bare word means more than one thing: a stack, a task's
    id or, where the command takes `nodes`, a node."""
    view = world.task(word)
    meanings = [f"stack {word}"] if world.get(Stack, word) is not None else []
    meanings += [f"task {task_name(world, view)} (its id)"] if view is not None else []
    if nodes:
        meanings += [f"node {n.name} ({n.id})" for n in world.all(Node) if word in (n.name, n.id)]
    if len(meanings) > 1:
        raise Refused(
            f"{word} could be {' or '.join(meanings)}.",
            "Name a service as STACK/SERVICE, a task as STACK/SERVICE.SLOT, a node by its id.",
        )


def service_of(world: World, name: str) -> tuple[str, str]:
    """(stack, service) of `STACK/SERVICE`. Raises Refused."""
    stack, slash, service = name.partition("/")
    if not slash:
        raise Refused(f"{name} is not STACK/SERVICE.", "See: stackd ps")
    stack_of(world, stack)
    known = world.get(ServiceState, name) is not None or world.declared(stack, service) is not None
    if not known:
        raise Unknown(f"There is no service {name}.", f"See: stackd status {stack}")
    return stack, service


def moving_of(world: World, name: str) -> tuple[str, str]:
    """(stack, service) of `STACK/SERVICE`; (stack, `SERVICE/TOGGLE`) of a toggle with stages,
    `STACK/SERVICE/TOGGLE`. Raises Refused."""
    if name.count("/") != 2:
        return service_of(world, name)
    place, _, feature = name.rpartition("/")
    stack, service = service_of(world, place)
    if f"{service}/{feature}" not in places.toggles(world, stack, service):
        text = f"{place} has no toggle {feature} with a strategy."
        raise Unknown(text, f"See: stackd flag ls {place}")
    return stack, f"{service}/{feature}"


def service_names(world: World, stack: str) -> list[str]:
    """Services of a stack: declared ones and those still being removed."""
    release = world.release(stack)
    names = set(release.services) if release else set()
    names |= {s.service for s in world.all(ServiceState) if s.stack == stack}
    prefix = f"{stack}/"
    names |= {
        key.removeprefix(prefix) for key in world.services_with_tasks() if key.startswith(prefix)
    }
    return sorted(names)


def services_of(world: World, name: str) -> list[tuple[str, str]]:
    """Services meant by '' (all), `STACK` or `STACK/SERVICE`. Raises Refused."""
    if not name:
        return [(s.name, one) for s in world.all(Stack) for one in service_names(world, s.name)]
    if "/" in name:
        return [moving_of(world, name)]
    return [(name, one) for one in service_names(world, stack_of(world, name).name)]


def task_of(world: World, name: str) -> TaskView:
    """The task called `STACK/SERVICE.SLOT` (the newest of the slot that should run), for global
    services `STACK/SERVICE.NODE`, or by its id. Raises Refused."""
    check_word(world, name)
    by_id = world.task(name)
    if by_id is not None:
        return by_id
    service, dot, slot = name.rpartition(".")
    if not dot or "/" not in service:
        raise Refused(
            f"{name} is not a task.", "Name it STACK/SERVICE.SLOT or by its id; see: stackd ps"
        )
    stack, service = service_of(world, service)
    slots = {slot, *(n.id for n in world.all(Node) if n.name == slot)}
    found = [t for t in world.tasks_of(stack, service) if t.task.slot in slots]
    if not found:
        raise Unknown(f"There is no task {name}.", f"See: stackd ps {stack}/{service} --all")
    return max(found, key=lambda t: (t.wanted and t.live, t.live, t.task.created, t.task.id))


def tasks_named(world: World, name: str) -> list[TaskView]:
    """Tasks meant by a stack, a service or a task's name. Raises Refused."""
    check_word(world, name)
    if world.task(name) is not None or ("/" in name and "." in name.rpartition("/")[2]):
        return [task_of(world, name)]
    return [t for pair in services_of(world, name) for t in world.tasks_of(*pair)]


def task_name(world: World, view: TaskView) -> str:
    """`STACK/SERVICE.SLOT`, with the node's name as slot for global services."""
    return f"{view.task.stack}/{view.task.service}.{slot_name(world, view)}"


def slot_name(world: World, view: TaskView) -> str:
    """The slot as people write it: a number, or the node's name."""
    node = world.get(Node, view.task.slot)
    return node.name if node else view.task.slot


def node_of(world: World, name: str) -> Node:
    """The node called `name`, or with that id. Raises Refused."""
    for node in world.all(Node):
        if name in (node.name, node.id):
            return node
    raise Unknown(f"There is no node {name}.", "See: stackd node ls")


def node_name(world: World, node_id: str) -> str:
    """The name of a node; its id when it is unknown, '' when there is none."""
    node = world.get(Node, node_id)
    return node.name if node else node_id


def shown(world: World, name: str) -> str:
    """A name from the records as people write it: slots of global services by node name."""
    head, dot, last = name.rpartition(".")
    node = world.get(Node, last) if dot else None
    return f"{head}.{node.name}" if node else name
