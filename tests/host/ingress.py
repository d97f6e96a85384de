"""A real Envoy on loopback with Python upstreams on 127.x.x.x and clients that count.

Everything of one lab is below /run/stackd/<its own id>; a watcher process removes it even when the
test process is killed.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from stackd.aio import proc
from stackd.aio.layout import ClusterLayout, NodeLayout
from stackd.core.model.ids import NodeId, RevisionId, TaskId
from stackd.core.model.requests import Request
from stackd.core.model.stack import AppProtocol, Route
from stackd.core.model.traffic import Endpoint, EndpointState, IngressPort, TrafficEntry
from stackd.errors import Unavailable
from stackd.host.envoy import EnvoyProcess
from stackd.xds.proxy import EnvoyProxy
from tests.fakes.ports import free_port

NET = "net00001"
_WATCHER = """
import asyncio, pathlib, shutil, sys
from stackd.aio.layout import ClusterLayout
from stackd.host.envoy import EnvoyProcess
sys.stdin.read()
node = ClusterLayout(pathlib.Path("/nonexistent"), sys.argv[1]).node("n1")
asyncio.run(EnvoyProcess(node).stop())
shutil.rmtree(node.cluster.run, ignore_errors=True)
"""


class Upstream:
    """One task: an HTTP server that can be killed like a process."""

    def __init__(self, address: str, port: int, name: str) -> None:
        self.address, self.port, self.name = address, port, name
        self.seen = 0
        self.headers: list[dict[str, str]] = []
        self._runner: web.AppRunner | None = None

    async def start(self) -> "Upstream":
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=75)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, self.port).start()
        return self

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.seen += 1
        self.headers = [*self.headers[-20:], dict(request.headers)]
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await self._echo(request)
        size = len(await request.read())
        if request.path.startswith("/slow"):
            await asyncio.sleep(2.0)
        if request.path.startswith("/cut") and request.transport is not None:
            request.transport.abort()
        if request.path.startswith("/fail"):
            return web.Response(status=500, text="as asked")
        return web.Response(text=f"{self.name} {size}", headers={"x-task": self.name})

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{self.name} {message.data}")
        return socket

    async def kill(self) -> None:
        """Close the listener and abort every connection, as SIGKILL does."""
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        for site in list(runner.sites):
            await site.stop()
        for handler in list(runner.server.connections) if runner.server else ():
            if handler.transport is not None:
                handler.transport.abort()
        runner._shutdown_timeout = 0
        await runner.cleanup()


class Lab:
    """One node's ingress and the tasks behind it."""

    def __init__(self, layout: NodeLayout) -> None:
        self.layout = layout
        self.process = EnvoyProcess(layout)
        self.requests: list[Request] = []
        self.contents: dict[str, bytes] = {}
        self.proxy = EnvoyProxy(layout.xds_socket, self.process, self.requests.append, self._held)
        self.upstreams: dict[str, Upstream] = {}
        self.port, self.other_port = free_port(), free_port()
        self._net = 2 + secrets.randbelow(250)
        self._octet = 10

    def _held(self, key: str) -> bytes | None:
        return self.contents.get(key)

    async def upstream(self, name: str, port: int) -> Upstream:
        self._octet += 1
        third, fourth = divmod(self._octet, 250)
        up = await Upstream(f"127.{self._net}.{third}.{fourth + 1}", port, name).start()
        self.upstreams[name] = up
        return up

    def endpoint(self, name: str, revision: str = "r1", *, ready: bool = True) -> Endpoint:
        return Endpoint(
            task=TaskId(name),
            revision=RevisionId(revision),
            node=NodeId("n1"),
            state=EndpointState.READY if ready else EndpointState.DRAINING,
            addresses={NET: self.upstreams[name].address},
        )

    async def agent_restarts(self) -> None:
        """The old ADS server goes away without a word, a new agent's comes."""
        await self.proxy.close(stop=False)
        self.proxy = EnvoyProxy(
            self.layout.xds_socket, self.process, self.requests.append, self._held
        )

    async def drained(self, entries: list[TrafficEntry], task: str, cap: float = 30.0) -> float:
        """Wait until nothing runs on the task; returns the seconds it took. An Envoy that cannot
        say is asked again, as the agent does."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        while await self._busy(entries, task):
            assert loop.time() - start < cap, f"{task} does not become idle"
            await asyncio.sleep(0.02)
        return loop.time() - start

    async def _busy(self, entries: list[TrafficEntry], task: str) -> bool:
        try:
            return (await self.proxy.in_flight(entries)).get(task, 0) > 0
        except Unavailable:
            return True


@contextlib.asynccontextmanager
async def lab() -> AsyncIterator[Lab]:
    """A fresh node, taken down completely."""
    cluster = f"t{uuid.uuid4().hex[:7]}"
    layout = ClusterLayout(Path("/nonexistent"), cluster).node("n1")
    layout.run.mkdir(parents=True, mode=0o700)
    watcher = await asyncio.create_subprocess_exec(  # noqa: TID251 must outlive a killed test
        sys.executable,
        "-c",
        _WATCHER,
        cluster,
        stdin=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    made = Lab(layout)
    try:
        yield made
    finally:
        await made.proxy.close(stop=True)
        for up in made.upstreams.values():
            await up.kill()
        assert watcher.stdin is not None
        watcher.stdin.close()
        await watcher.wait()
        shutil.rmtree(layout.cluster.run, ignore_errors=True)


def entry(
    name: str, endpoints: list[Endpoint], *ports: IngressPort, **more: object
) -> TrafficEntry:
    """A service's entry; `more` are fields of TrafficEntry."""
    base = TrafficEntry(
        stack="shop", service=name, endpoints=tuple(endpoints), ports=ports, ingress_network=NET
    )
    return msgspec.structs.replace(base, **more)


def http(published: int, target: int) -> IngressPort:
    return IngressPort(published=published, target=target, protocol=AppProtocol.HTTP)


def tcp(published: int, target: int) -> IngressPort:
    return IngressPort(published=published, target=target, protocol=AppProtocol.TCP)


def route(**fields: object) -> Route:
    return msgspec.structs.replace(Route(), **fields)


class Load:
    """Clients at a rate: 60 % GET on kept connections, 20 % new connections, 12 % POST of 100 kB,
    8 % answers of 2 s. `lost`: what the application did not answer."""

    def __init__(self, port: int, rate: float, *, refused_ok: bool = False) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.rate = rate
        self.refused_ok = refused_ok
        self.answered: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.refused = 0
        self._stop = asyncio.Event()
        self._body = b"x" * 100_000

    @property
    def total(self) -> int:
        return sum(self.answered.values()) + sum(self.lost.values())

    async def __aenter__(self) -> "Load":
        self._kept = ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=20))
        self._task = asyncio.ensure_future(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._task
        await self._kept.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        start, sent = loop.time(), 0
        async with asyncio.TaskGroup() as group:
            while not self._stop.is_set():
                due = int((loop.time() - start) * self.rate)
                while sent < due:
                    group.create_task(self._one(sent))
                    sent += 1
                await asyncio.sleep(0.005)

    async def _one(self, number: int) -> None:
        kind = number % 25
        try:
            if kind < 15:
                answer = await self._ask(self._kept, "GET", "/")
            elif kind < 20:
                async with ClientSession(timeout=ClientTimeout(total=20)) as fresh:
                    answer = await self._ask(fresh, "GET", "/")
            elif kind < 23:
                answer = await self._ask(self._kept, "POST", "/", self._body)
            else:
                answer = await self._ask(self._kept, "GET", "/slow")
            self.answered[answer] += 1
        except Exception as error:
            if self.refused_ok and "Connect call failed" in str(error):
                self.refused += 1
            else:
                self.lost[f"{type(error).__name__}: {str(error)[:80]}"] += 1

    async def _ask(
        self, session: ClientSession, method: str, path: str, data: bytes | None = None
    ) -> str:
        async with session.request(method, self.url + path, data=data) as response:
            text = await response.text()
            if response.status != 200:
                raise RuntimeError(f"{response.status} {text.strip()}")
            return text.split()[0]


async def status(port: int, path: str = "/", host: str = "", **headers: str) -> tuple[int, str]:
    """(status, body) of one GET on a new connection; (0, reason) when it is refused."""
    if host:
        headers["host"] = host
    try:
        async with (
            ClientSession(timeout=ClientTimeout(total=10)) as session,
            session.get(f"http://127.0.0.1:{port}{path}", headers=headers) as response,
        ):
            return response.status, (await response.text()).strip()
    except OSError as error:
        return 0, str(error)


async def killed(pid: int) -> None:
    """SIGKILL, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    await proc.ended(pid)
