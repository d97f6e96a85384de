"""Tables in memory: a copy is a world of its own."""

from stackd.core.model.states import Leaving, TaskState
from stackd.core.model.task import Task
from stackd.core.model.world import World
from tests.fakes.stacks import node, put, task


def test_a_copy_shares_records_and_nothing_else() -> None:
    world = put(World(), *node(), *task("t1"))
    place = "t1".ljust(12, "0")
    copy = world.copy()
    assert copy.revision == world.revision
    assert copy.task(place) == world.task(place)
    put(copy, *task("t1", desired_stop=True, desired_leaving=Leaving.DRAINING), *task("t2"))
    assert [v.task.id[:2] for v in copy.tasks_of("shop", "web")] == ["t1", "t2"]
    assert [v.task.id[:2] for v in copy.leaving()] == ["t1"]
    assert [v.task.id[:2] for v in world.tasks_of("shop", "web")] == ["t1"]
    assert world.leaving() == []
    copy.remove(Task.TABLE, place)
    assert world.task(place) is not None
    assert world.tasks_on(f"{1:012d}")[0].status.state is TaskState.RUNNING
    assert [t.id[:2] for t in world.all(Task)] == ["t1"]
