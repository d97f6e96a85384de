"""Containers on this node: creates, starts, watches, stops, removes and adopts them.

Conforms to the agent's `Runtime` protocol; the agent makes one `RuncRuntime`, runs its `run` in
its task group, and calls the rest. A container's truth is on the host (control group, bundle, exit
file), never only here: a new object finds everything again.
"""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence

from stackd.aio import proc, shortage
from stackd.aio.clock import Clock
from stackd.aio.layout import NodeLayout
from stackd.core.model.driver import ExecRequest, Exit, Found, Launch, LogLine
from stackd.errors import Refused, Rejected, Unavailable
from stackd.host import (
    bundle,
    cgroups,
    conmon,
    containers,
    exec,
    exits,
    facts,
    logfiles,
    noderun,
    pidfds,
    prepare,
    reap,
    runc,
)

_MONITOR_WRITES_WITHIN = 2.0
_ROTATE_EVERY = 1.0
_TRIM_EVERY = 60
_OPENED_TRIES = 50
_OPENED_EVERY = 0.002
_PID_TRIES = 200
_PID_EVERY = 0.005
_YOUNG = 1.0
_COUNTED_WITHIN = 120.0
_PAGE = 4096
_AGAIN_AFTER = 0.1


class RuncRuntime:
    """runc under conmon, on one node."""

    def __init__(self, layout: NodeLayout, clock: Clock) -> None:
        noderun.prepare(layout)
        noderun.prepare_data(layout)
        self._layout = layout
        self._clock = clock
        self._hierarchies = cgroups.discover()
        self._prepare = prepare.Preparer(layout, facts.gather())
        self._containers: dict[str, containers.Container] = {}
        cores = os.cpu_count() or 1
        self._creating = asyncio.Semaphore(max(2, 2 * cores))
        self._probing = asyncio.Semaphore(cores)
        self._names = itertools.count(1)

    async def run(self) -> None:
        """Rotate the logs of all running containers and let old ones go, for ever."""
        for turn in itertools.count():
            if turn % _TRIM_EVERY == 0:
                running = os.listdir(self._layout.bundles)
                await asyncio.to_thread(logfiles.trim, self._layout.logs, running)
            for container in list(self._containers.values()):
                if logfiles.rotate(container.place.log, container.place.bundle / "ctl"):
                    await self._hold(container.place)
            await self._clock.sleep(_ROTATE_EVERY)

    async def _hold(self, place: bundle.Home) -> None:
        """Take hold of the new log as soon as its monitor has opened it."""
        for _ in range(_OPENED_TRIES):
            if logfiles.hold(place.log):
                return
            await self._clock.sleep(_OPENED_EVERY)

    async def create(self, launch: Launch) -> int:
        """Make the container but do not start it; returns the pid of its first process.

        Raises Rejected with the cause in one sentence, Unavailable when trying again may help;
        leaves nothing behind then."""
        task_id = str(launch.task.id)
        place = bundle.home(self._layout, task_id)
        if task_id in self._containers:
            raise Rejected(f"The task {task_id} has a container already.")
        async with self._creating:
            try:
                await self._prepare.all(place, launch)
                spec = launch.revision.container
                monitor = conmon.Monitor(
                    id=task_id,
                    bundle=place.bundle,
                    exits=self._layout.exits,
                    state=self._layout.runc,
                    log=place.log,
                    log_limit=logfiles.BRAKE,
                    tty=spec.tty,
                    stdin=spec.stdin_open,
                )
                pid = await conmon.create(self._layout.spawner_socket, monitor)
                await self._monitored(place)
                self._containers[task_id] = containers.hold(place, pid)
                return pid
            except BaseException as error:
                await asyncio.shield(asyncio.to_thread(reap.reap, place, self._hierarchies))
                if isinstance(error, OSError):
                    reaction = Unavailable if shortage.passing(error) else Rejected
                    raise reaction(
                        f"The container cannot be prepared: {error.strerror or error}.",
                        "Look at the disk of the node.",
                    ) from error
                raise

    async def _monitored(self, place: bundle.Home) -> None:
        """conmon's first process writes the pid file on its way out, which may come late."""
        for _ in range(_PID_TRIES):
            if reap.read_pid(place.bundle / "conmon.pid"):
                return
            await self._clock.sleep(_PID_EVERY)

    async def start(self, task_id: str) -> None:
        """Let the created container run. Raises Rejected."""
        container = self._known(task_id)
        await runc.start(container.place, container.pidfd)
        container.started_at = time.monotonic()

    async def wait(self, task_id: str) -> Exit:
        """Return when the container has ended, or its monitor has while the container runs on:
        then the answer is `running`, and the next call waits for the end. Raises Refused for a
        task that has no container."""
        container = self._known(task_id)
        if container.exit is None:
            if not container.told and not await _first(container):
                container.told = True
                return containers.UNMONITORED
            if container.running:
                await pidfds.wait_ended(container.pidfd)
            container.exit = await self._exit(container)
        return container.exit

    async def _exit(self, container: containers.Container) -> Exit:
        """The monitor writes the exit file and then ends; a stuck one is not waited for long."""
        try:
            async with asyncio.timeout(_MONITOR_WRITES_WITHIN):
                if container.monitor >= 0:
                    await pidfds.wait_ended(container.monitor)
        except TimeoutError:
            pass
        found = exits.read(container.place, self._hierarchies, container.pidfd)
        return found or Exit(None, lost=exits.LOST_MONITOR)

    async def signal(self, task_id: str, name: str) -> None:
        """Send a signal by name (with or without SIG) or number. A process that has just started
        may not listen yet, so the signal is sent once more a little later. Raises Refused for an
        unknown signal."""
        number = _signal_number(name)
        container = self._containers.get(task_id)
        if container is None or container.pidfd < 0:
            return
        pidfds.send(container.pidfd, number)
        if time.monotonic() - container.started_at < _YOUNG:
            loop = asyncio.get_running_loop()
            loop.call_later(_AGAIN_AFTER, self._send_again, container, number)

    @staticmethod
    def _send_again(container: containers.Container, number: int) -> None:
        if container.pidfd >= 0:
            pidfds.send(container.pidfd, number)

    async def remove(self, task_id: str) -> None:
        """Kill whatever is left and remove every trace but the log. Raises Unavailable when
        something is stuck; calling it again goes on."""
        place = bundle.home(self._layout, task_id)
        await asyncio.shield(asyncio.to_thread(reap.reap, place, self._hierarchies))
        container = self._containers.pop(task_id, None)
        if container is not None:
            container.close()

    async def written(self, task_id: str) -> int:
        """Bytes on disk of the task's writable layer; 0 when it has gone. Raises Unavailable when
        it cannot be counted in time."""
        upper = bundle.home(self._layout, task_id).upper
        if not upper.exists():
            return 0
        argv = ("du", "--summarize", "--block-size=1", "--one-file-system", "--", str(upper))
        # Its exit code also tells of files that went meanwhile: the sum is what counts.
        done = await proc.run(proc.Command(argv, timeout=_COUNTED_WITHIN, max_output=_PAGE))
        number = done.stdout.split(maxsplit=1)[:1]
        return int(number[0]) if number and number[0].isdigit() else 0

    async def remove_volume(self, name: str) -> None:
        """Remove a named volume with its data. Raises Unavailable when something is left."""
        await self._prepare.volumes.remove(name)

    async def found(self) -> Sequence[Found]:
        """Everything of this node that its cgroups, bundles, runc state and disk show, by task id;
        what runs is watched from now on."""
        result = []
        for task_id in containers.ids(self._layout, self._hierarchies):
            known = self._containers.get(task_id)
            if known is None:
                place = bundle.home(self._layout, task_id)
                known = self._containers[task_id] = containers.adopt(place, self._hierarchies)
            result.append(known.describe())
        return result

    async def exec(self, request: ExecRequest) -> exec.Session:
        """Start a command in the task. Raises Refused."""
        container = self._running(request.task_id)
        return await exec.start(container.place, request, str(next(self._names)))

    async def probe(self, task_id: str, argv: Sequence[str], timeout: float) -> tuple[int, str]:
        """Run a health command; (exit code, last 4 KiB of output), -1 = timed out. One at a time
        per core; the time in the queue does not count."""
        async with self._probing:
            container = self._running(task_id)
            return await exec.probe(container.place, argv, str(next(self._names)), timeout)

    def logs(
        self, task_id: str, *, follow: bool, tail: int, since: float
    ) -> AsyncIterator[Sequence[LogLine]]:
        """The task's kept lines, some at once; with `follow` until its container has ended."""
        log = bundle.home(self._layout, task_id).log
        return logfiles.read(
            logfiles.Query(log, tail, since, follow, lambda: self._silent(task_id))
        )

    def watched(self, task_id: str) -> bool:
        """True while the container runs and its monitor lives."""
        container = self._containers.get(task_id)
        return container is not None and container.running and not self._silent(task_id)

    def close(self) -> None:
        """Let go of all containers; they run on."""
        for container in self._containers.values():
            container.close()
        self._containers.clear()

    def _silent(self, task_id: str) -> bool:
        container = self._containers.get(task_id)
        return container is None or not container.monitored

    def _known(self, task_id: str) -> containers.Container:
        container = self._containers.get(task_id)
        if container is None:
            raise Refused(f"The task {task_id} has no container on this node.")
        return container

    def _running(self, task_id: str) -> containers.Container:
        container = self._known(task_id)
        if not container.running:
            raise Refused(f"The task {task_id} is not running.")
        return container


async def _first(container: containers.Container) -> bool:
    """True when the container has ended, False when its monitor has and the container has not."""
    if container.pidfd < 0:
        return True
    if container.monitor < 0:
        return pidfds.ended(container.pidfd)
    await pidfds.wait_ended(container.pidfd, container.monitor)
    return pidfds.ended(container.pidfd)


def _signal_number(name: str) -> int:
    text = name.upper()
    if text.isdigit() and 1 <= int(text) <= signal.SIGRTMAX:
        return int(text)
    named, sign, distance = text.removeprefix("SIG").partition("-" if "-" in text else "+")
    try:
        number = int(signal.Signals[f"SIG{named}"])
        return number + int(f"{sign}{distance}") if sign else number
    except (KeyError, ValueError) as error:
        raise Refused(f"The signal {name!r} is unknown.", "See signal(7).") from error
