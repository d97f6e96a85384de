"""Small stacks, plans and deployed worlds for tests of plans, answers and deployments."""

from collections.abc import Mapping
from typing import Any

from stackd.core.model.container import Attachment, ContainerSpec
from stackd.core.model.ids import NodeId, RevisionId, TaskId
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.record import Record
from stackd.core.model.release import Stack
from stackd.core.model.stack import NetworkSpec, ServiceSpec, StackSpec
from stackd.core.model.states import NodeState, TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.world import World
from stackd.core.plan import records
from stackd.core.plan.make import Declaration, Plan, make_plan
from stackd.errors import Refused, StackdError, Unavailable

NOW = 1_700_000_000.0


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def service(name: str = "web", image: str = "web:1", **fields: Any) -> ServiceSpec:
    """A service in the default network; `container_*` fields go to its container."""
    inner = {k.removeprefix("container_"): fields.pop(k) for k in list(fields) if "container_" in k}
    inner.setdefault("networks", (Attachment(network="default"),))
    return ServiceSpec(name=name, container=ContainerSpec(image=image, **inner), **fields)


def stack(*services: ServiceSpec, name: str = "shop", **fields: Any) -> StackSpec:
    fields.setdefault("networks", {"default": NetworkSpec(name=f"{name}_default")})
    return StackSpec(name=name, services={s.name: s for s in services}, **fields)


def declare(spec: StackSpec, letter: str = "a", **fields: Any) -> Declaration:
    """A declaration whose images all have one digest."""
    images = {s: f"{v.container.image}@{digest(letter)}" for s, v in spec.services.items()}
    return Declaration(spec=spec, images=images, **fields)


def put(world: World, *found: Record) -> World:
    for record in found:
        world.apply(record, world.revision + 1)
        world.revision += 1
    return world


def commit(world: World, plan: Plan, sha: str = "", by: str = "root@local") -> World:
    """Take a plan into the tables as the deployer would."""
    stamp = records.Stamp(at=NOW, by=by, event=f"e{world.revision:03d}", commit=sha)
    batches = [*records.preparation(world, plan, ()), records.release(world, plan, stamp)]
    for batch in batches:
        for change in batch.changes:
            world.revision += 1
            if hasattr(change, "record"):
                world.apply(change.record, world.revision)
            else:
                world.remove(change.ref.table, change.ref.key)
    return world


def deployed(spec: StackSpec, world: World | None = None, **fields: Any) -> World:
    """A world in which `spec` is declared."""
    found = world or World()
    return commit(found, make_plan(found, declare(spec, **fields)))


def head(world: World, name: str = "shop") -> Stack:
    found = world.get(Stack, name)
    assert found is not None
    return found


def node(number: int = 1, **fields: Any) -> tuple[Node, NodeStatus]:
    """A ready node with 4 processors and 8 GiB."""
    own = {k: fields.pop(k) for k in ("availability", "labels", "role") if k in fields}
    place = NodeId(f"{number:012d}")
    fields = {"state": NodeState.READY, "cpus": 4.0, "memory": 8 << 30, "since": NOW, **fields}
    return (
        Node(id=place, name=f"node{number}", index=number, **own),
        NodeStatus(id=place, address=f"192.0.2.{number}", **fields),
    )


def task(
    name: str, state: TaskState = TaskState.RUNNING, *, slot: str = "1", **fields: Any
) -> tuple[Task, TaskDesired, TaskStatus]:
    """A task of shop/web on node 1; `desired_*` and `status_*` fields go to those records."""
    desired = {k[8:]: fields.pop(k) for k in list(fields) if k.startswith("desired_")}
    status = {k[7:]: fields.pop(k) for k in list(fields) if k.startswith("status_")}
    fields = {
        "stack": "shop",
        "service": "web",
        "revision": RevisionId("a" * 12),
        "node": f"{1:012d}",
        "created": NOW,
        **fields,
    }
    place = TaskId(name.ljust(12, "0"))
    ready = state is TaskState.RUNNING
    return (
        Task(id=place, slot=slot, **fields),
        TaskDesired(id=place, **desired),
        TaskStatus(id=place, state=state, **{"ready": ready, "at": NOW, **status}),
    )


class FakeResolver:
    """Image names -> digests; an error instead of a digest is raised."""

    def __init__(self, known: Mapping[str, str | StackdError], local: bool = True) -> None:
        self.known = dict(known)
        self.local = local
        self.resolved: list[str] = []
        self.absent: set[str] = set()

    async def resolve(self, image: str) -> tuple[str, bool]:
        self.resolved.append(image)
        found = self.known.get(image)
        if found is None:
            raise Refused(f"There is no image {image}.", "Load or pull it.")
        if isinstance(found, StackdError):
            raise found
        return found, self.local

    async def ensure(self, image: str) -> object:
        if image in self.absent:
            raise Unavailable(f"{image} cannot be fetched.")
        return None

    def normalise(self, image: str) -> str:
        return image.partition(":")[0]
