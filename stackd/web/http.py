"""The manager's HTTP port: /healthz and /metrics. Wired in `manager.main`.

Listens on loopback. The JSON API, webhooks and pages will live on the same port.
"""

import contextlib
from collections.abc import Callable, Iterator

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stackd.errors import Unavailable

Health = Callable[[], tuple[bool, dict[str, str]]]
"""Whether the manager can do its work, and details for people."""


def application(health: Health, collector: Collector) -> Starlette:
    """The web application."""
    registry = CollectorRegistry()
    registry.register(collector)

    async def healthz(request: Request) -> Response:
        good, details = health()
        return JSONResponse(details, status_code=200 if good else 503)

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/healthz", healthz), Route("/metrics", metrics)])


class _Server(uvicorn.Server):
    """Signals are the process's own business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(app: Starlette, host: str, port: int) -> None:
    """Serve until cancelled. Raises Unavailable when the port is taken."""
    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, lifespan="off", access_log=False
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
