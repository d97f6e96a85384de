"""How fast tasks are created and placed: `python -m tests.bench.placing [NODES] [SERVICES] [EACH]`.

Prints CPU time, which noise of other processes disturbs least.
"""

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stackd.core.model.container import ContainerSpec
from stackd.core.model.decision import Decision
from stackd.core.model.ids import NodeId, RevisionId
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.record import Put, Record
from stackd.core.model.release import Release, Revision, ServiceRelease, Stack
from stackd.core.model.rollout import ServiceState
from stackd.core.model.stack import ServiceSpec, StackSpec
from stackd.core.model.states import NodeState, TaskState
from stackd.core.model.task import Task, TaskStatus
from stackd.core.model.world import World
from stackd.core.orchestrate import service
from stackd.core.schedule import assign
from stackd.core.schedule.load import Loads

Ids = Callable[[], str]


def cluster(nodes: int, services: int, each: int) -> World:
    """A World with nodes and declared services, without tasks."""
    world = World()
    spec = ServiceSpec(name="web", container=ContainerSpec(image="web"), replicas=each)
    revision = RevisionId("a")
    records: list[Record] = []
    for number in range(nodes):
        node = NodeId(f"n{number:05d}")
        records.append(Node(id=node, name=node))
        records.append(NodeStatus(id=node, state=NodeState.READY, cpus=64, memory=1 << 40))
    for number in range(services):
        stack = f"s{number}"
        declared = {"web": ServiceRelease(spec=spec, revision=revision)}
        whole = StackSpec(name=stack, services={"web": spec})
        records += [
            Release(stack=stack, number=1, spec=whole, services=declared),
            Stack(name=stack, owner="cli", release=1),
            Revision(stack=stack, service="web", id=revision, container=spec.container),
            ServiceState(stack=stack, service="web", counts={revision: each}),
        ]
    for record in records:
        world.apply(record, 1)
    return world


def written(decision: Decision) -> Iterator[Record]:
    """The records of a decision."""
    for commit in decision.commits:
        for change in commit.changes:
            if isinstance(change, Put):
                yield change.record


@contextmanager
def timed(what: str, count: int) -> Iterator[None]:
    """Print how long the block took, for each of `count` things."""
    began = time.process_time()
    yield
    took = time.process_time() - began
    print(f"{what}: {took:.3f} s, {count / took:,.0f}/s, {took / count * 1e6:,.1f} us each")


def main(nodes: int, services: int, each: int) -> None:
    """Create all tasks, place them, then look at one more."""
    world = cluster(nodes, services, each)
    ids = map("{:012d}".format, itertools.count()).__next__
    total = services * each
    decisions: list[Decision] = []
    with timed(f"create {total:,} tasks", total):
        for number in range(services):
            decisions.append(service.decide(world, f"s{number}", "web", 0, ids))
    for record in itertools.chain.from_iterable(map(written, decisions)):
        if isinstance(record, TaskStatus):
            world.apply(TaskStatus(id=record.id, state=TaskState.PENDING), 2)
        else:
            world.apply(record, 2)
    loads = Loads()
    pending = [task.id for task in world.all(Task)]
    with timed(f"place {total:,} tasks on {nodes:,} nodes", total):
        placed = assign.decide(world, pending, loads, 0, ids)
    for record in written(placed):
        world.apply(record, 3)
    assert all(task.node for task in world.all(Task))
    last = world.task(pending[-1])
    assert last is not None
    world.apply(TaskStatus(id=last.task.id, state=TaskState.PENDING), 4)
    with timed("place one more", 1):
        assign.decide(world, [last.task.id], loads, 0, ids)
    with timed(f"look at a service of {each} tasks that needs nothing", 1):
        service.decide(world, "s1", "web", 0, ids)


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [1_000, 1_000, 100][len(given) :]))
