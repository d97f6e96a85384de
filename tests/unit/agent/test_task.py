"""A task's life on a machine without a kernel, in virtual time."""

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator

import pytest

from stackd.agent.machine import Machine
from stackd.agent.task import WRITABLE_BYTES, WRITABLE_SECONDS, TaskRunner
from stackd.aio.clock import ManualClock, settle
from stackd.core.container import lifecycle
from stackd.core.model.assignment import ContentItem, TaskItem
from stackd.core.model.container import Check, ContainerSpec, Grant, HealthCheck
from stackd.core.model.driver import Exit, Found
from stackd.core.model.ids import RevisionId, TaskId
from stackd.core.model.release import ContentKind, Revision
from stackd.core.model.states import Health, TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.errors import Rejected, Unavailable
from tests.fakes.host import FakeContainer, FakeImages, FakeNetwork, FakeRuntime

T1 = TaskId("t1")


def item(desired: TaskState = TaskState.RUNNING, **values: object) -> TaskItem:
    container = ContainerSpec(
        image="a@sha256:1",
        **{k: v for k, v in values.items() if k in ContainerSpec.__struct_fields__},  # type: ignore[arg-type]
    )
    task = Task(
        id=T1,
        stack="s",
        service="w",
        slot="1",
        revision=RevisionId("r1"),
        addresses={"net": "10.0.0.9"},
        **{k: v for k, v in values.items() if k in Task.__struct_fields__},  # type: ignore[arg-type]
    )
    return TaskItem(
        task=task,
        desired=TaskDesired(id=T1, state=desired),
        revision=Revision(stack="s", service="w", id=RevisionId("r1"), container=container),
        contents={"secret/key": "secret/the_key/v1"},
    )


class Life:
    """A runner with everything it touches."""

    def __init__(self, wanted: TaskItem) -> None:
        self.clock = ManualClock()
        self.runtime, self.images, self.network = FakeRuntime(), FakeImages(), FakeNetwork()
        self.machine = Machine(self.runtime, self.images, self.network, self.clock)
        self.said: list[TaskStatus] = []
        self.runner = TaskRunner(wanted, self.machine, self.said.append)
        self.over = False

    @contextlib.asynccontextmanager
    async def lived(self) -> AsyncIterator["Life"]:
        async def live() -> None:
            await self.runner.run()
            self.over = True

        async with asyncio.TaskGroup() as group:
            task = group.create_task(live())
            await settle()
            yield self
            task.cancel()

    @property
    def states(self) -> list[TaskState]:
        found = []
        for status in self.said:
            if status.state not in found:
                found.append(status.state)
        return found

    @property
    def last(self) -> TaskStatus:
        return self.said[-1]

    def state(self) -> TaskState:
        return self.last.state

    @property
    def container(self) -> FakeContainer:
        return self.runtime.containers[T1]

    async def change(self, wanted: TaskItem) -> None:
        self.runner.update(wanted)
        await settle()


UP = [TaskState.ACCEPTED, TaskState.PREPARING, TaskState.READY, TaskState.STARTING]


async def test_whole_life() -> None:
    async with Life(item()).lived() as life:
        assert life.states == [*UP, TaskState.RUNNING]
        assert [status.ready for status in life.said] == [False] * 5
        await life.clock.advance(5.0)
        assert life.last.ready
        container = life.container
        await life.change(item(TaskState.SHUTDOWN))
        assert container.signals == ["SIGTERM"]
        assert life.state() is TaskState.SHUTDOWN
        assert (life.last.exit_code, life.last.error) == (143, "")
        assert life.over
        assert life.network.attached == set()
        assert life.runtime.removed == [T1]


async def test_stubborn_task_is_killed_after_its_grace() -> None:
    async with Life(item(stop_grace_period=30.0, stop_signal="SIGQUIT")).lived() as life:
        life.runtime.stubborn.add(T1)
        container = life.container
        await life.change(item(TaskState.SHUTDOWN, stop_grace_period=30.0, stop_signal="SIGQUIT"))
        await life.clock.advance(29.9)
        assert container.signals == ["SIGQUIT"]
        await life.clock.advance(0.2)
        assert container.signals == ["SIGQUIT", "SIGKILL"]
        assert life.state() is TaskState.SHUTDOWN


async def test_a_container_without_its_monitor_serves_on_until_it_is_asked_to_go() -> None:
    async with Life(item()).lived() as life:
        await life.clock.advance(5.0)
        container = life.container
        container.end(Exit(code=None, lost="conmon died", running=True))
        await settle()
        assert (life.state(), life.last.ready) == (TaskState.RUNNING, True)
        assert (life.last.failing, life.last.error) == (True, "monitor lost: conmon died")
        assert container.signals == []
        await life.change(item(TaskState.SHUTDOWN))
        assert container.signals == ["SIGTERM"]
        assert (life.state(), life.last.error) == (TaskState.FAILED, "monitor lost: conmon died")
        assert life.over


async def test_a_container_that_was_not_ready_ends_with_its_monitor() -> None:
    async with Life(item()).lived() as life:
        life.container.end(Exit(code=None, lost="conmon died", running=True))
        await settle()
        assert (life.state(), life.last.error) == (TaskState.FAILED, "monitor lost: conmon died")
        assert life.over


async def test_a_task_that_never_got_ready_keeps_what_was_in_its_way() -> None:
    life_ = Life(item(ready_ports=(8080,)))
    life_.network.closed.add(("10.0.0.9", 8080))
    async with life_.lived() as life:
        await life.clock.advance(30.0)
        why = life.last.error
        assert "8080" in why
        await life.change(item(TaskState.SHUTDOWN, ready_ports=(8080,)))
        assert (life.state(), life.last.error) == (TaskState.SHUTDOWN, why)


async def test_a_time_of_the_managers_clock_holds_nothing_here() -> None:
    """The scheduler has waited for it; this node's clock may be another."""
    async with Life(item(not_before=ManualClock().now() + 86_400)).lived() as life:
        assert life.container.started


async def test_held_until_wanted_running() -> None:
    async with Life(item(TaskState.READY)).lived() as life:
        await life.clock.advance(60.0)
        assert life.state() is TaskState.READY
        await life.change(item())
        assert life.state() is TaskState.RUNNING


async def test_stopped_while_the_image_is_fetched() -> None:
    life = Life(item())
    life.images.gate.clear()
    async with life.lived():
        assert life.state() is TaskState.PREPARING
        await life.change(item(TaskState.SHUTDOWN))
        assert life.state() is TaskState.SHUTDOWN
        assert life.over


async def test_rejected_with_the_cause() -> None:
    life = Life(item())
    life.images.missing["a@sha256:1"] = Rejected("a has no such manifest.")
    async with life.lived():
        assert (life.state(), life.last.error) == (TaskState.REJECTED, "a has no such manifest.")
        assert life.runtime.removed == [T1]


async def test_image_is_asked_for_again_while_nobody_answers() -> None:
    life = Life(item())
    life.images.missing["a@sha256:1"] = Unavailable("no manager")
    async with life.lived():
        await life.clock.advance(5.0)
        assert (life.state(), life.last.error) == (TaskState.PREPARING, "no manager")
        life.images.missing.clear()
        await life.clock.advance(10.0)
        assert (life.state(), life.last.error) == (TaskState.RUNNING, "")


async def test_creation_is_tried_again_on_a_clean_place_while_the_spawner_is_away() -> None:
    life = Life(item())
    life.runtime.refuse[T1] = Unavailable("no spawner")
    async with life.lived():
        await life.clock.advance(5.0)
        assert (life.state(), life.last.error) == (TaskState.PREPARING, "no spawner")
        tries = len(life.runtime.removed)
        assert tries > 1
        life.runtime.refuse.clear()
        await life.clock.advance(10.0)
        assert (life.state(), life.last.error) == (TaskState.RUNNING, "")
        assert len(life.runtime.removed) == tries + 1


async def test_contents_are_waited_for() -> None:
    grant = Grant(name="key", target="/run/secrets/key", version="v1")
    async with Life(item(secrets=(grant,))).lived() as life:
        assert life.state() is TaskState.PREPARING
        content = ContentItem(
            kind=ContentKind.SECRET, name="the_key", version="v1", value=b"hunter2"
        )
        life.machine.contents.replace({content.key: content})
        await settle()
        assert life.container.launch.files[0].value == b"hunter2"
        assert life.state() is TaskState.RUNNING


async def test_ends_by_itself() -> None:
    for exit, state, error in (
        (Exit(code=0), TaskState.COMPLETE, ""),
        (Exit(code=3), TaskState.FAILED, "exit code 3"),
    ):
        async with Life(item()).lived() as life:
            life.container.end(exit)
            await settle()
            assert (life.state(), life.last.error) == (state, error)
            assert life.last.exit_code == exit.code
            assert life.over


async def test_health_check_leads_to_running() -> None:
    check = HealthCheck(command=("/check",), interval=2.0, retries=3)
    life = Life(item(healthcheck=check))
    life.runtime.probes[T1] = (1, "warming up")
    async with life.lived():
        await life.clock.advance(0.6)
        assert (life.state(), life.last.health) == (TaskState.STARTING, Health.STARTING)
        assert life.last.error == "warming up"
        life.runtime.probes[T1] = (0, "")
        await life.clock.advance(2.0)
        assert (life.state(), life.last.health) == (TaskState.RUNNING, Health.HEALTHY)
        assert life.last.ready
        life.runtime.probes[T1] = (1, "disk full")
        await life.clock.advance(6.5)
        assert (life.state(), life.last.error) == (
            TaskState.FAILED,
            "health check failed 3 times: disk full",
        )
        unready = [status for status in life.said if status.health is Health.UNHEALTHY]
        assert unready[0].state is TaskState.RUNNING, "told before it is stopped"
        assert not unready[0].ready


async def test_never_healthy_fails() -> None:
    check = HealthCheck(kind=Check.HTTP, port=80, interval=1.0, retries=2)
    life = Life(item(healthcheck=check))
    life.network.status = 503
    async with life.lived():
        await life.clock.advance(10.0)
        assert life.state() is TaskState.FAILED
        assert "GET http://10.0.0.9:80/: 503" in life.last.error


async def test_published_port_makes_ready() -> None:
    life = Life(item(ready_ports=(8080,)))
    life.network.closed = {("10.0.0.9", 8080)}
    async with life.lived():
        await life.clock.advance(2.0)
        assert (life.state(), life.last.ready) == (TaskState.RUNNING, False)
        assert life.last.error == (
            "port 8080 listens on 127.0.0.1 only; let the program listen on 0.0.0.0"
        )
        life.network.closed.add(("127.0.0.1", 8080))
        await life.clock.advance(2.0)
        assert life.last.error.startswith("port 8080 does not accept connections at 10.0.0.9")
        life.network.closed.clear()
        await life.clock.advance(2.0)
        assert (life.last.ready, life.last.error) == (True, "")


async def test_forgotten_task_goes_at_once_and_says_nothing() -> None:
    async with Life(item()).lived() as life:
        container, before = life.container, len(life.said)
        life.runner.forget()
        await settle()
        assert container.signals == ["SIGKILL"]
        assert life.over
        assert len(life.said) == before


def running() -> TaskStatus:
    return TaskStatus(id=T1, state=TaskState.RUNNING, ready=True, at=1.0, pid=7)


async def test_adopted_task_stays_ready() -> None:
    life = Life(item(ready_ports=(8080,)))
    life.network.closed = {("10.0.0.9", 8080), ("127.0.0.1", 8080)}
    life.runtime.containers[T1] = FakeContainer(None, started=True)  # type: ignore[arg-type]
    life.runner.adopt(Found(T1, running=True, started=True, pid=7), running())
    async with life.lived():
        await life.clock.advance(3.0)
        assert [status for status in life.said if not status.ready] == []
        life.container.end(Exit(code=1))
        await settle()
        assert life.last.error == "exit code 1"


async def test_adopted_task_that_ended_meanwhile() -> None:
    life = Life(item())
    life.runner.adopt(Found(T1, False, True, 7, Exit(code=9)), running())
    async with life.lived():
        assert (life.state(), life.last.error) == (TaskState.FAILED, "exit code 9")


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(Found(T1, True, False, 7), id="created"),
        pytest.param(Found(T1, True, False, 7, Exit(None, lost="x", running=True)), id="unwatched"),
        pytest.param(Found(T1, False, False, 0, Exit(None, lost="half made")), id="half made"),
    ],
)
async def test_adopted_task_that_never_ran_is_made_anew(found: Found) -> None:
    life = Life(item())
    life.runtime.containers[T1] = FakeContainer(None)  # type: ignore[arg-type]
    life.runner.adopt(found, TaskStatus(id=T1, state=TaskState.READY))
    async with life.lived():
        assert life.runtime.removed == [T1]
        assert life.container.started
        assert life.state() is TaskState.RUNNING


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(None, id="all removed"),
        pytest.param(Found(T1, False, False, 0, Exit(None, lost="x")), id="killed"),
        pytest.param(Found(T1, False, True, 0, Exit(None, lost="x")), id="without its fifo"),
    ],
)
async def test_an_agent_killed_while_it_made_a_task_anew_is_followed_by_one_that_does(
    found: Found | None,
) -> None:
    first = Life(item())
    first.runtime.containers[T1] = FakeContainer(None)  # type: ignore[arg-type]
    created = TaskStatus(id=T1, state=TaskState.STARTING, pid=7)
    first.runner.adopt(Found(T1, True, False, 7), created)
    async with first.lived():
        pass
    said = next(status for status in first.said if not status.pid)
    assert said.state is TaskState.STARTING
    second = Life(item())
    second.runner.adopt(found, said)
    async with second.lived():
        assert second.state() is TaskState.RUNNING
        assert second.container.started


async def test_half_prepared_task_begins_again_on_a_clean_place() -> None:
    life = Life(item())
    life.runner.adopt(None, TaskStatus(id=T1, state=TaskState.PREPARING))
    async with life.lived():
        assert life.runtime.removed == [T1]
        assert life.state() is TaskState.RUNNING


async def test_preparing_has_an_end() -> None:
    life = Life(item())
    life.images.gate.clear()
    async with life.lived():
        await life.clock.advance(lifecycle.PREPARE_SECONDS - 1)
        assert life.state() is TaskState.PREPARING
        await life.clock.advance(2.0)
        assert (life.state(), life.last.error) == (TaskState.REJECTED, "not prepared within 10m")
        assert life.over


async def test_preparing_ends_with_what_was_in_its_way() -> None:
    life = Life(item())
    life.images.missing["a@sha256:1"] = Unavailable("No manager is connected to fetch it from.")
    async with life.lived():
        await life.clock.advance(lifecycle.PREPARE_SECONDS + 1)
        assert life.state() is TaskState.REJECTED
        assert life.last.error == (
            "not prepared within 10m: No manager is connected to fetch it from"
        )


async def test_a_task_that_fills_the_disk_is_ended() -> None:
    async with Life(item()).lived() as life:
        await life.clock.advance(10.0)
        container = life.container
        life.runtime.layers[T1] = WRITABLE_BYTES
        await life.clock.advance(5 * WRITABLE_SECONDS)
        assert container.signals == []
        life.runtime.layers[T1] = WRITABLE_BYTES + 1024**3
        await life.clock.advance(WRITABLE_SECONDS)
        assert container.signals == ["SIGTERM"]
        assert (life.state(), life.last.error) == (
            TaskState.FAILED,
            "its writable layer has 11.0 GiB, more than the 10 GiB that a task may write outside "
            "volumes",
        )


async def test_what_the_node_lacks_for_now_is_no_fault_of_the_task() -> None:
    life = Life(item())
    life.runtime.refuse[T1] = OSError(errno.EMFILE, "Too many open files")
    async with life.lived():
        await life.clock.advance(5.0)
        assert life.state() is TaskState.PREPARING
        life.runtime.refuse.clear()
        await life.clock.advance(10.0)
        assert (life.state(), life.last.error) == (TaskState.RUNNING, "")
