"""Byte streams between the manager's API and a task, through the node's own connection.

The API opens one here, the agent is told over its session, and the Tunnel rpc it then makes is
joined to the waiting caller.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from stackd.errors import Refused, Unavailable
from stackd.wire.messages import OpenTunnel
from stackd.wire.pipe import Pipe

OPEN_SECONDS = 10.0
Tell = Callable[[OpenTunnel], Awaitable[None]]


@dataclass(slots=True)
class _Waiting:
    node: str
    pipe: asyncio.Future[Pipe]
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Tunnels:
    """The tunnels of one manager."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}

    @contextlib.asynccontextmanager
    async def open(self, node: str, kind: str, request: bytes, tell: Tell) -> AsyncIterator[Pipe]:
        """A tunnel to `node`; leaving the context ends it. Raises Unavailable when the node does
        not open it in time."""
        tunnel = secrets.token_hex(16)
        waiting = _Waiting(node, asyncio.get_running_loop().create_future())
        self._waiting[tunnel] = waiting
        try:
            await tell(OpenTunnel(tunnel, kind, request))
            try:
                async with asyncio.timeout(OPEN_SECONDS):
                    pipe = await waiting.pipe
            except TimeoutError as error:
                raise Unavailable("The node does not answer.", "See `stackd node ls`.") from error
            yield pipe
        finally:
            self._waiting.pop(tunnel, None)
            waiting.done.set()

    async def serve(self, node: str, tunnel: str, pipe: Pipe) -> None:
        """The agent of `node` has opened `tunnel`: returns when its caller is done. Raises
        Refused when nobody waits for this tunnel from this node."""
        waiting = self._waiting.get(tunnel)
        if waiting is None or waiting.node != node or waiting.pipe.done():
            raise Refused("Nobody waits for this tunnel.")
        waiting.pipe.set_result(pipe)
        await waiting.done.wait()
