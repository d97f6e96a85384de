"""The manager's HTTP port: /healthz, /metrics, /hooks and the JSON API (`api`). Wired in
`manager.main`.

Listens on loopback, where any user of the machine may connect, and with TLS where it is told to:
connections are bounded, and one that asks for nothing is closed. Pages will live on the same port.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from stackd.aio.tasks import together
from stackd.core.model.cluster import ClusterFile
from stackd.errors import Refused, Unavailable
from stackd.web import api

log = logging.getLogger(__name__)

CONNECTIONS = 256
Health = Callable[[], tuple[bool, dict[str, str]]]
"""Whether the manager can do its work, and details for people."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen, and the files (PEM) of the certificate with its chain and of the key; both
    empty = without TLS."""

    host: str
    port: int
    certificate: str = ""
    key: str = ""
    look_every: float = 10.0
    """Seconds between looks at the files."""


def listener(cluster: ClusterFile) -> Listener | None:
    """Where the API is served besides loopback. Raises Refused when the address is none, or is
    off loopback and has no certificate."""
    if not cluster.http_listen:
        return None
    host, _, port = cluster.http_listen.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise Refused(
            f"{cluster.http_listen!r} is no address to listen on.", "Write it like 0.0.0.0:7443."
        )
    if not (cluster.http_cert and cluster.http_key) and not _loopback(host):
        raise Refused(
            f"{cluster.http_listen} is not on loopback, and there tokens need TLS.",
            "Give --http-cert FILE and --http-key FILE.",
        )
    return Listener(host, int(port), cluster.http_cert, cluster.http_key)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def application(
    health: Health, collector: Collector | None, more: Sequence[BaseRoute] = ()
) -> Starlette:
    """The web application; `/metrics` only with a collector."""
    registry = CollectorRegistry()

    async def healthz(request: Request) -> Response:
        good, details = health()
        return JSONResponse(details, status_code=200 if good else 503)

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def missed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        remedy = "See /openapi.json for what there is."
        answer = api.problem(error.status_code, f"{error.detail}.", remedy)
        answer.headers.update(error.headers or {})
        return answer

    routes: list[BaseRoute] = [Route("/healthz", healthz), *more]
    if collector is not None:
        registry.register(collector)
        routes.append(Route("/metrics", metrics))
    return Starlette(routes=routes, exception_handlers={HTTPException: missed})


def tls(certificate: str, key: str) -> ssl.SSLContext:
    """The server's side of TLS. Raises Refused when the files are not a certificate and its
    key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error)
        raise Refused(
            f"{certificate} and {key} are no certificate and its key: {why}.",
            "Give PEM files: the certificate with its chain, and its key without a password.",
        ) from error
    return context


def _no_password() -> str:
    raise ValueError("the key has a password")


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
    """Signals are the process's own business; a TLS handshake has as long as a request has."""

    def __init__(
        self, config: uvicorn.Config, connection: type[Connection], context: ssl.SSLContext | None
    ) -> None:
        super().__init__(config)
        self._connection = connection
        self._context = context

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. Raises OSError when the address is taken."""
        timeout = self._connection.patience if self._context else None
        listening = await asyncio.get_running_loop().create_server(
            self._accepted,
            self.config.host,
            self.config.port,
            ssl=self._context,
            ssl_handshake_timeout=timeout,
            backlog=self.config.backlog,
        )
        self.servers = [listening]
        self.started = True

    def _accepted(self) -> asyncio.Protocol:
        return self._connection(config=self.config, server_state=self.server_state, app_state={})

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _run(server: uvicorn.Server) -> NoReturn:
    await server.serve()
    raise AssertionError("nobody tells it to end")


async def _renew(context: ssl.SSLContext, listener: Listener) -> NoReturn:
    """Take on what is put in the place of the files; connections that are there stay."""
    seen = _stamps(listener)
    while True:
        await asyncio.sleep(listener.look_every)
        found = _stamps(listener)
        if found == seen:
            continue
        seen = found
        try:
            tls(listener.certificate, listener.key)  # whole and fitting, before it is taken on
            context.load_cert_chain(listener.certificate, listener.key, password=_no_password)
            log.info("%s is taken on", listener.certificate)
        except (Refused, OSError) as error:
            log.warning("the certificate before goes on: %s", error)


def _stamps(listener: Listener) -> list[int]:
    """When the files were changed; 0 for one that is not there."""
    found = []
    for path in (listener.certificate, listener.key):
        try:
            found.append(Path(path).stat().st_mtime_ns)
        except OSError:
            found.append(0)
    return found


async def serve(
    app: Starlette, listener: Listener, connection: type[Connection] = Connection
) -> None:
    """Serve until cancelled; a certificate that is renewed in its files is taken on. Raises
    Unavailable when the port is taken, Refused when the files are no certificate and key."""
    context = tls(listener.certificate, listener.key) if listener.certificate else None
    config = uvicorn.Config(
        app,
        host=listener.host,
        port=listener.port,
        http=connection,
        log_config=None,
        lifespan="off",
        access_log=False,
    )
    server = _Server(config, connection, context)
    try:
        renewing = [_renew(context, listener)] if context else []
        await together(_run(server), *renewing)
    except OSError as error:
        raise Unavailable(
            f"Port {listener.port} on {listener.host} is taken.",
            "Free it, or choose another: http_port in cluster.json, or `up --http-listen`.",
            retry_after=5.0,
        ) from error
    finally:
        for listening in getattr(server, "servers", ()):  # cancelled, it leaves them open
            listening.close()
