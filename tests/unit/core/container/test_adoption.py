"""Where an agent goes on with a task of its predecessor: never a second run, nothing half made."""

import pytest

from stackd.core.container.adoption import Adopted, adopted
from stackd.core.container.lifecycle import Stage
from stackd.core.model.driver import Exit, Found
from stackd.core.model.ids import TaskId
from stackd.core.model.states import TaskState
from stackd.core.model.task import TaskStatus

T1 = TaskId("t1")
EXIT = Exit(code=0)


def container(*, running: bool, started: bool) -> Found:
    return Found(T1, running, started, pid=7, exit=None if running else EXIT)


@pytest.mark.parametrize(
    ("found", "state", "pid", "where"),
    [
        (None, TaskState.ASSIGNED, 0, Adopted(dirty=True)),
        (None, TaskState.PREPARING, 0, Adopted(dirty=True)),
        (None, TaskState.READY, 0, Adopted(dirty=True)),
        (None, TaskState.RUNNING, 7, Adopted(stage=Stage.ENDED)),
        (None, TaskState.FAILED, 7, Adopted(dirty=True)),
        (container(running=True, started=False), TaskState.READY, 7, Adopted(dirty=True)),
        (container(running=True, started=True), TaskState.RUNNING, 7, Adopted(stage=Stage.STARTED)),
        (container(running=False, started=False), TaskState.READY, 7, Adopted(dirty=True)),
        (
            container(running=False, started=True),
            TaskState.RUNNING,
            7,
            Adopted(stage=Stage.ENDED, exit=EXIT),
        ),
        (
            container(running=False, started=False),
            TaskState.STARTING,
            7,
            Adopted(stage=Stage.ENDED, exit=EXIT),
        ),
        (container(running=False, started=True), TaskState.STARTING, 0, Adopted(dirty=True)),
        (
            Found(T1, False, False, 0, exit=EXIT, cut_off=True),
            TaskState.STARTING,
            7,
            Adopted(dirty=True),
        ),
    ],
)
def test_where_to_go_on(found: Found | None, state: TaskState, pid: int, where: Adopted) -> None:
    assert adopted(found, TaskStatus(id=T1, state=state, pid=pid)) == where
