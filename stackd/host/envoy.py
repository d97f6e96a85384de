"""Keeps one Envoy running on a node, and speaks for it to the agent.

`main` is the keeper process `stackd envoy-keeper CLUSTER NODE`: it starts Envoy, starts it again
when it ends, and hands over to a new one on SIGUSR1 without losing a request. Agent and keeper may
both die while Envoy goes on; a new keeper adopts it. `EnvoyProcess` is what the agent holds.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import signal
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from stackd.aio import proc
from stackd.aio.backoff import Backoff
from stackd.aio.layout import ClusterLayout, NodeLayout
from stackd.errors import Unavailable
from stackd.host import envoy_instance, listening, quiesce
from stackd.host.envoy_instance import Instance

log = logging.getLogger(__name__)

PID_FILE = "envoy-keeper.pid"
HEALTHY = 5.0
"""Seconds of running after which an end counts as the first."""
MAX_LOG = 4 * 1024 * 1024


class Restarts:
    """How long to wait before the next start: not at all after one end, which may have been a
    kill, longer and longer for an Envoy that does not stay."""

    def __init__(self) -> None:
        self._backoff = Backoff(first=0.2, most=10.0)
        self._early = False

    def pause(self, lived: float) -> float:
        """Seconds to wait after an Envoy that lived for so many."""
        early, self._early = self._early, lived < HEALTHY
        if early and self._early:
            return self._backoff.next()
        self._backoff.reset()
        return 0.0


class Keeper:
    """The keeper process of one node."""

    def __init__(self, layout: NodeLayout) -> None:
        self._layout = layout
        self._stop = asyncio.Event()
        self._renew = asyncio.Event()

    async def run(self) -> None:
        """Until SIGTERM, which also ends Envoy."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGINT, self._stop.set)
        loop.add_signal_handler(signal.SIGUSR1, self._renew.set)
        current = await self._adopt() or self._start()
        restarts = Restarts()
        while not self._stop.is_set():
            started = loop.time()
            await self._wait(current)
            if self._stop.is_set():
                break
            if current.alive:
                current = await self._hand_over(current)
                continue
            current.forget()
            await asyncio.sleep(restarts.pause(loop.time() - started))
            current = self._start()
        await current.end()

    async def _adopt(self) -> Instance | None:
        """The Envoy that a former keeper left. One that was killed in a handover left two, of
        which either may not serve yet or no more: the handover is brought to its end."""
        running = envoy_instance.running(self._layout.run)
        envoy_instance.forget_dead(self._layout.run, running)
        for instance in running:
            instance.note()  # a keeper killed between start and note has left none
        current = running[0] if running else None
        for newer in running[1:]:
            assert current is not None
            current = await self._replace(current, newer)
        return current

    def _start(self) -> Instance:
        output = self._layout.run / "envoy.log"
        if output.exists() and output.stat().st_size > MAX_LOG:
            output.write_bytes(b"")
        return envoy_instance.start(self._layout, output)

    async def _wait(self, current: Instance) -> None:
        """Until it ends or something is asked."""
        waits = {
            asyncio.ensure_future(proc.ended(current.pid)),
            asyncio.ensure_future(self._stop.wait()),
            asyncio.ensure_future(self._renew.wait()),
        }
        _, rest = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in rest:
            wait.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        if not current.alive:
            self._renew.clear()

    async def _hand_over(self, old: Instance) -> Instance:
        """A second Envoy on the same ports; once it serves what the first does, that one goes."""
        self._renew.clear()
        return await self._replace(old, self._start())

    async def _replace(self, old: Instance, new: Instance) -> Instance:
        """Let `old` go once `new` serves what it does; who serves then."""
        try:
            await envoy_instance.caught_up(new, old)
        except Unavailable as error:
            if await envoy_instance.serves(old):
                log.warning("the new Envoy is given up: %s", error)
                await new.end()
                return old
        await envoy_instance.retire(old)
        return new


class EnvoyProcess:
    """The node's Envoy as its agent sees it; conforms to `xds.proxy.ProxyProcess`."""

    def __init__(self, layout: NodeLayout, command: Sequence[str] = ()) -> None:
        """`command` starts the keeper; by default this program does."""
        self._layout = layout
        cluster, node = layout.cluster.cluster, layout.name
        own = (sys.executable, "-m", "stackd", "envoy-keeper", cluster, node)
        self._command = tuple(command) or own

    async def ensure(self) -> None:
        """Start the keeper unless one runs. Raises Unavailable."""
        if self.running():
            return
        self._layout.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        pid = proc.spawn(self._command, log=self._layout.run / "envoy-keeper.log")
        for _ in range(500):
            if self.running():
                return
            if not _alive(pid):
                break
            await asyncio.sleep(0.01)
        raise Unavailable("Envoy's keeper does not start.", "See envoy-keeper.log of the node.")

    def running(self) -> bool:
        """Whether a keeper holds its pid file."""
        try:
            handle = os.open(self._layout.run / PID_FILE, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    async def stop(self) -> None:
        """End keeper and Envoy; also an Envoy that no keeper watches."""
        path = self._layout.run / PID_FILE
        if self.running():
            pid = int(path.read_text())
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            await proc.ended(pid)
        for instance in envoy_instance.running(self._layout.run):
            await instance.end()

    async def renew(self) -> None:
        """Ask the keeper for a planned restart; it happens without losing a request."""
        await self.ensure()
        os.kill(int((self._layout.run / PID_FILE).read_text()), signal.SIGUSR1)

    async def port_problem(self, port: int) -> str:
        """'' if Envoy can or does listen on the port; else who holds it and what to do."""
        own = [i.pid for i in envoy_instance.running(self._layout.run)]
        return await asyncio.to_thread(listening.problem, port, own)

    async def quiesce(self, ports: Collection[int]) -> None:
        """Envoy is about to close these ports: let in nobody new, and it accept who waits."""
        own = [i.pid for i in envoy_instance.running(self._layout.run)]
        await asyncio.to_thread(quiesce.quiesce, ports, own, envoy_instance.QUIESCE)


def _alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return Path(f"/proc/{pid}").exists()


def main(argv: Sequence[str]) -> int:
    """`stackd envoy-keeper CLUSTER NODE`; 1 when another keeper runs."""
    cluster, node = argv
    layout = ClusterLayout(Path("/nonexistent"), cluster).node(node)
    layout.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(layout.run / PID_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 1
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(Keeper(layout).run())
    (layout.run / PID_FILE).unlink(missing_ok=True)
    return 0
