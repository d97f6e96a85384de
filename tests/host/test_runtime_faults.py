"""What dies, what goes on, and that nothing stays behind."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stackd.core.model.driver import Exit, Found, Launch
from stackd.errors import Rejected, StackdError, Unavailable
from stackd.host import bundle, cgroups, pidfds, reap, runc
from tests.host import rig as rigs

pytestmark = pytest.mark.host


@pytest.fixture
async def rig() -> AsyncIterator[rigs.Rig]:
    async with rigs.rig() as made:
        yield made


def monitor_of(rig: rigs.Rig, task: str) -> int:
    return reap.read_pid(rig.layout.bundles / task / "conmon.pid")


def kill(pid: int) -> None:
    assert pid > 1
    os.kill(pid, signal.SIGKILL)


async def test_a_new_agent_adopts_what_runs_and_reads_what_ended(rig: rigs.Rig) -> None:
    running = await rig.run("sh", "-c", "read x < /tmp/fifo; exit 5", init=False)
    endless = await rig.run("sleep", "1000")
    created = (await rig.launch("sh", "-c", "exit 3")).task.id
    await rig.runtime.create(await named(rig, created))
    ended = await rig.run("sh", "-c", "exit 9")
    await rig.runtime.wait(ended)
    rig.restart()
    found = {item.task_id: item for item in await rig.runtime.found()}
    assert set(found) >= {endless, created, ended}
    assert (found[endless].running, found[endless].started) == (True, True)
    assert found[endless].pid == runc_pid(rig, endless)
    assert (found[created].running, found[created].started) == (True, False)
    assert (found[ended].running, found[ended].cut_off) == (False, False)
    assert exit_of(found[ended]).code == 9
    await rig.runtime.start(created)
    assert (await rig.runtime.wait(created)).code == 3
    await rig.runtime.signal(endless, "KILL")
    assert (await rig.runtime.wait(endless)).signal == signal.SIGKILL
    for task in (running, endless, created, ended):
        await rig.runtime.remove(task)
        assert rigs.traces(rig.layout, task) == []
    assert await rig.runtime.found() == []


def exit_of(found: Found) -> Exit:
    assert found.exit is not None
    return found.exit


async def named(rig: rigs.Rig, task: str) -> Launch:
    launch = await rig.launch("sh", "-c", "exit 3")
    return rigs.with_id(launch, task)


def runc_pid(rig: rigs.Rig, task: str) -> int:
    state = runc.state(bundle.home(rig.layout, task))
    assert state is not None
    return state.pid


async def test_containers_end_while_no_agent_watches(rig: rigs.Rig) -> None:
    task = await rig.run("sh", "-c", "echo last words; sleep 0.3; exit 11")
    rig.runtime.close()
    await rigs.until((rig.layout.exits / task).exists)
    rig.restart()
    (found,) = await rig.runtime.found()
    assert found.exit is not None
    assert found.exit.code == 11
    assert (await rig.runtime.wait(task)).code == 11
    assert await rig.text(task) == "last words\n"


async def test_killed_monitor_is_told_and_the_container_runs_on(rig: rigs.Rig) -> None:
    task = await rig.run("sleep", "1000")
    waiting = asyncio.ensure_future(rig.runtime.wait(task))
    await asyncio.sleep(0)
    kill(monitor_of(rig, task))
    ended = await waiting
    assert "monitor" in ended.lost
    assert ended.code is None
    assert Path(f"/proc/{runc_pid(rig, task)}").exists()
    rig.restart()
    (found,) = await rig.runtime.found()
    assert found.running
    assert found.exit is not None
    assert "monitor" in found.exit.lost
    await rig.runtime.remove(task)
    assert rigs.traces(rig.layout, task) == []


async def test_exit_code_without_a_monitor_comes_from_the_kernel(rig: rigs.Rig) -> None:
    task = await rig.run("sh", "-c", "sleep 0.5; exit 21")
    place = bundle.home(rig.layout, task)
    handle = pidfds.open_if(runc_pid(rig, task))
    assert handle is not None
    kill(monitor_of(rig, task))
    await pidfds.wait_ended(handle)
    await rigs.until(lambda: pidfds.wait_status(handle) is not None)
    assert os.waitstatus_to_exitcode(pidfds.wait_status(handle) or 0) == 21
    assert not place.exit_file.exists()
    pidfds.close(handle)
    await rig.runtime.remove(task)
    assert rigs.traces(rig.layout, task) == []


async def test_everything_killed_at_once_is_lost_not_stuck(rig: rigs.Rig) -> None:
    task = await rig.run("sleep", "1000")
    rig.runtime.close()
    pid = runc_pid(rig, task)
    kill(monitor_of(rig, task))
    kill(pid)
    await rigs.until(lambda: not Path(f"/proc/{pid}").exists())
    rig.restart()
    (found,) = await rig.runtime.found()
    assert not found.running
    assert found.exit is not None
    assert found.exit.lost
    await rig.runtime.remove(task)
    assert rigs.traces(rig.layout, task) == []


async def test_killed_spawner_takes_nothing_along(rig: rigs.Rig) -> None:
    task = await rig.run("sleep", "1000")
    rig.spawner.kill()
    await rig.spawner.wait()
    with pytest.raises(Unavailable, match="spawner"):
        await rig.run("true")
    await rig.restart_spawner()
    assert (await rig.runtime.wait(await rig.run("true"))).code == 0
    assert rig.runtime.watched(task)
    await rig.runtime.signal(task, "KILL")
    assert (await rig.runtime.wait(task)).signal == signal.SIGKILL


async def test_monitors_are_in_the_spawners_group_and_not_in_ours(rig: rigs.Rig) -> None:
    task = await rig.run("sleep", "1000")
    groups = Path(f"/proc/{monitor_of(rig, task)}/cgroup").read_text().splitlines()
    cluster = rig.layout.cluster.cluster
    assert {line.split(":")[2] for line in groups} == {f"/stackd-{cluster}/monitor/n1"}
    inside = cgroups.processes(cgroups.discover(), f"{rig.layout.cgroup}/{task}")
    assert inside == {runc_pid(rig, task)}


@pytest.mark.parametrize("delay", [0.0, 0.004, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07])
async def test_creation_killed_half_way_is_reaped(rig: rigs.Rig, delay: float) -> None:
    """The whole monitor group dies at some moment of a creation."""
    launch = await rig.launch("sleep", "1000")
    creating = asyncio.ensure_future(rig.runtime.create(launch))
    await asyncio.sleep(delay)
    group = f"/stackd-{rig.layout.cluster.cluster}/monitor"
    await asyncio.to_thread(cgroups.kill, cgroups.discover(), group)
    await rig.spawner.wait()
    (result,) = await asyncio.gather(creating, return_exceptions=True)
    assert isinstance(result, int | StackdError)
    rig.restart()
    await rig.runtime.found()
    await rig.runtime.remove(launch.task.id)
    assert rigs.traces(rig.layout, launch.task.id) == []
    await rig.restart_spawner()
    assert (await rig.runtime.wait(await rig.run("true"))).code == 0


def creators(rig: rigs.Rig, task: str, name: str) -> list[int]:
    """Processes called `name` that are making the task's container."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            if Path(os.fsdecode(words[0])).name == name and os.fsencode(task) in words:
                found.append(int(path.name))
    return found


@pytest.mark.parametrize("name", ["conmon", "runc"])
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03])
async def test_a_creator_killed_half_way_is_no_fault_of_the_task(
    rig: rigs.Rig, name: str, delay: float
) -> None:
    """Trying again is asked for, and works."""
    launch = await rig.launch("true")
    task = launch.task.id
    creating = asyncio.ensure_future(rig.runtime.create(launch))
    await rigs.until(lambda: creating.done() or bool(creators(rig, task, name)))
    await asyncio.sleep(delay)
    for pid in creators(rig, task, name):
        with contextlib.suppress(ProcessLookupError):
            kill(pid)
    (result,) = await asyncio.gather(creating, return_exceptions=True)
    if isinstance(result, BaseException):
        assert isinstance(result, Unavailable), result
        await rig.runtime.remove(task)
        assert rigs.traces(rig.layout, task) == []
        await rig.runtime.create(launch)
    await rig.runtime.remove(task)
    assert rigs.traces(rig.layout, task) == []


async def test_cancelled_creation_leaves_nothing(rig: rigs.Rig) -> None:
    for delay in (0.0, 0.005, 0.02, 0.04):
        launch = await rig.launch("sleep", "1000")
        creating = asyncio.ensure_future(rig.runtime.create(launch))
        await asyncio.sleep(delay)
        creating.cancel()
        await asyncio.gather(creating, return_exceptions=True)
        await rig.runtime.remove(launch.task.id)
        assert rigs.traces(rig.layout, launch.task.id) == []


async def test_removal_kills_a_process_that_ignores_everything(rig: rigs.Rig) -> None:
    script = "trap '' TERM INT HUP; (sleep 1000 &); while true; do sleep 1; done"
    task = await rig.run("sh", "-c", script)
    await rig.runtime.remove(task)
    assert rigs.traces(rig.layout, task) == []
    await rig.runtime.remove(task)


async def test_start_of_a_container_that_died_is_rejected(rig: rigs.Rig) -> None:
    launch = await rig.launch("true")
    kill(await rig.runtime.create(launch))
    await rig.runtime.wait(launch.task.id)
    with pytest.raises(Rejected, match="ended before"):
        await rig.runtime.start(launch.task.id)


async def test_an_agent_killed_after_it_let_a_command_go_finds_it_started(rig: rigs.Rig) -> None:
    task = await rig.run("sleep", "1000")
    fifo = rig.layout.runc / task / "exec.fifo"
    os.mkfifo(fifo)  # it had no time to remove it
    rig.restart()
    [found] = await rig.runtime.found()
    assert (found.running, found.started) == (True, True)
    await rig.runtime.start(task)
    assert not fifo.exists()


async def test_an_agent_killed_while_it_lets_a_command_go(rig: rigs.Rig) -> None:
    """It has opened the start fifo, which wakes runc's process, and dies before that writes."""
    launch = await rig.launch("sleep", "1000")
    first = await rig.runtime.create(launch)
    fifo = rig.layout.runc / launch.task.id / "exec.fifo"
    ended = asyncio.ensure_future(rig.runtime.wait(launch.task.id))
    while not ended.done():  # at first it may not have come to the fifo yet
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, signal.SIGSTOP)
            os.close(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
            os.kill(first, signal.SIGCONT)
        await asyncio.sleep(0.05)
    assert ended.result().code == 1
    rig.restart()
    [found] = await rig.runtime.found()
    assert (found.running, found.started, found.cut_off) == (False, False, True)


async def test_start_falls_back_to_runc_when_its_fifo_is_not_where_it_was(rig: rigs.Rig) -> None:
    """Without a fifo `runc start` is asked, which tells why it cannot."""
    launch = await rig.launch("sleep", "1000")
    await rig.runtime.create(launch)
    (rig.layout.runc / launch.task.id / "exec.fifo").unlink()
    with pytest.raises(Rejected, match="cannot be started"):
        await rig.runtime.start(launch.task.id)


async def test_many_at_once_and_gone_without_a_trace(rig: rigs.Rig) -> None:
    tasks = await asyncio.gather(*(rig.run("sh", "-c", f"exit {n}") for n in range(24)))
    codes = [(await rig.runtime.wait(task)).code for task in tasks]
    assert codes == list(range(24))
    await asyncio.gather(*(rig.runtime.remove(task) for task in tasks))
    assert [rigs.traces(rig.layout, task) for task in tasks] == [[]] * 24
    assert cgroups.children(cgroups.discover(), rig.layout.cgroup) == set()
