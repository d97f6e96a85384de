"""A slot stays on the node that holds its named volume. Called by `assign`."""

from collections.abc import Sequence

import msgspec

from stackd.core.model import fit
from stackd.core.model.container import MountKind
from stackd.core.model.network import VolumeBinding
from stackd.core.model.node import Node
from stackd.core.model.release import Revision
from stackd.core.model.states import Availability, NodeState
from stackd.core.model.task import Task
from stackd.core.model.world import World


def names(world: World, stack: str, revision: Revision) -> tuple[str, ...]:
    """Cluster-wide names of the named volumes that a revision mounts."""
    release = world.release(stack)
    specs = release.spec.volumes if release else {}
    return tuple(
        specs[mount.source].name if mount.source in specs else f"{stack}_{mount.source}"
        for mount in revision.container.mounts
        if mount.kind is MountKind.VOLUME and mount.source
    )


def homes(world: World, task: Task, volumes: Sequence[str]) -> dict[str, str]:
    """Node id -> volume: where the task must go because its data is there; empty = anywhere.

    The slot's own node counts first; else a node where another service keeps the same volume.
    """
    own: dict[str, str] = {}
    others: dict[str, str] = {}
    service = f"{task.stack}/{task.service}."
    for binding in world.all(VolumeBinding) if volumes else ():
        if binding.name not in volumes or binding.removing:
            continue
        if fit.slot_name(task) in binding.slots:
            own[binding.node] = binding.name
        elif not any(slot.startswith(service) for slot in binding.slots):
            others[binding.node] = binding.name
    return own or others


def going(world: World, node: str, volumes: Sequence[str]) -> str:
    """Why a task with these volumes cannot be on a node yet; '' when it can."""
    for name in volumes:
        binding = world.get(VolumeBinding, f"{name}/{node}")
        if binding is not None and binding.removing:
            return f"still removing the old volume {name}"
    return ""


def away(world: World, task: Task, home: dict[str, str]) -> str:
    """Why a task that is bound to nodes cannot run now."""
    node_id, volume = min(home.items())
    node = world.get(Node, node_id)
    view = fit.node_view(world, node_id)
    name = node.name if node else node_id
    state = "gone" if view is None else "full or unfit"
    if view is not None and view.status.state is not NodeState.READY:
        state = view.status.state.value
    elif view is not None and view.node.availability is Availability.DRAIN:
        state = "being drained"
    elif view is not None and view.node.availability is Availability.PAUSE:
        state = "paused"
    return f"slot {task.slot} stays on {name}, which holds its volume {volume} and is {state}"


def bind(
    world: World, task: Task, volumes: Sequence[str], node: str, now: float
) -> list[VolumeBinding]:
    """The bindings to write when a slot is placed on `node`."""
    written = []
    release = world.release(task.stack)
    external = {v.name for v in release.spec.volumes.values() if v.external} if release else set()
    for name in dict.fromkeys(volumes):
        known = world.get(VolumeBinding, f"{name}/{node}")
        new = known or VolumeBinding(
            name=name, node=node, stack="" if name in external else task.stack, created=now
        )
        if fit.slot_name(task) not in new.slots:
            new = msgspec.structs.replace(new, slots=(*new.slots, fit.slot_name(task)))
            written.append(new)
    return written
