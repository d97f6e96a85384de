"""The manager's HTTP port: /healthz, /metrics, /hooks. Wired in `manager.main`.

Listens on loopback, where any user of the machine may connect: connections are bounded, and one
that asks for nothing is closed. The JSON API and pages will live on the same port.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from stackd.errors import Unavailable

CONNECTIONS = 256
Health = Callable[[], tuple[bool, dict[str, str]]]
"""Whether the manager can do its work, and details for people."""


def application(health: Health, collector: Collector, more: Sequence[Route] = ()) -> Starlette:
    """The web application, with the routes of `more`."""
    registry = CollectorRegistry()
    registry.register(collector)

    async def healthz(request: Request) -> Response:
        good, details = health()
        return JSONResponse(details, status_code=200 if good else 503)

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/healthz", healthz), Route("/metrics", metrics), *more])


class Connection(H11Protocol):
    """One of a bounded number; it is looked at every `patience` seconds."""

    patience = 10.0
    """Seconds within which it must bring a request."""
    _seen: object = None
    """The request that was there when it was last looked at."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        else:
            self.loop.call_later(self.patience, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        if self.cycle is self._seen and not busy:
            self.transport.close()
            return
        self._seen = self.cycle
        self.loop.call_later(self.patience, self._look)


class _Server(uvicorn.Server):
    """Signals are the process's own business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: Starlette, host: str, port: int, connection: type[Connection] = Connection
) -> None:
    """Serve until cancelled. Raises Unavailable when the port is taken."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=connection,
        log_config=None,
        lifespan="off",
        access_log=False,
    )
    server = _Server(config)
    try:
        await server.serve()
    except SystemExit as error:
        raise Unavailable(
            f"Port {port} on {host} is taken.",
            "Free it, or change http_port in cluster.json.",
            retry_after=5.0,
        ) from error
    finally:
        for listening in getattr(server, "servers", ()):  # cancelled, it leaves them open
            listening.close()
