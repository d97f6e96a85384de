"""The most that nodes carry while a plan is played."""

from stackd.core.foresight.usage import Usage
from stackd.core.model.container import ContainerSpec, Resources
from stackd.core.model.ids import RevisionId
from stackd.core.model.release import Revision
from stackd.core.model.states import TaskState
from stackd.core.model.world import World
from tests.fakes.stacks import node, put, task


def test_peaks_count_what_is_placed_until_it_has_ended() -> None:
    revision = Revision(
        stack="shop",
        service="web",
        id=RevisionId("a" * 12),
        container=ContainerSpec(
            image="web", resources=Resources(reserve_cpus=1, reserve_memory=10)
        ),
    )
    foreign = task("other", stack="else", revision=RevisionId("b" * 12))
    world = put(World(), *node(1), *node(2), revision, *task("t1"), *foreign)
    usage = Usage(world)
    usage.begin("shop")
    put(world, *task("t2", TaskState.PENDING))
    usage.note("t2".ljust(12, "0"), world.task("t2".ljust(12, "0")))
    assert [(p.node, p.tasks, p.cpus, p.memory) for p in usage.peaks()] == [("node1", 2, 1, 10)]
    for state in (TaskState.ASSIGNED, TaskState.RUNNING, TaskState.SHUTDOWN):
        put(world, *task("t2", state))
        usage.note("t2".ljust(12, "0"), world.task("t2".ljust(12, "0")))
    put(world, *task("t3", TaskState.ASSIGNED))
    usage.note("t3".ljust(12, "0"), world.task("t3".ljust(12, "0")))
    assert [(p.node, p.tasks, p.cpus, p.memory) for p in usage.peaks()] == [("node1", 3, 2, 20)]
    usage.note("t3".ljust(12, "0"), None)
    usage.note("t1".ljust(12, "0"), None)
    assert usage.peaks()[0].tasks == 3, "a peak stays"
