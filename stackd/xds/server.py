"""The ADS server of a node: keeps every connected Envoy at one snapshot and waits for its acks.

Opened by `proxy` once there is a snapshot; an Envoy that finds it gone keeps serving what it has.
"""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2

from stackd.errors import Unavailable
from stackd.xds.session import Session
from stackd.xds.snapshot import Snapshot

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
MAX_MESSAGE = 64 * 1024 * 1024


class AdsServer:
    """Delta ADS over the unix socket `path`, which only root may open."""

    def __init__(self, path: Path, *beside: "grpc.GenericRpcHandler[Any, Any]") -> None:
        """`beside`: what else is served on the same socket."""
        self._path = path
        self._beside = beside
        self._snapshot = Snapshot()
        self._sessions: list[Session] = []
        self._progress = asyncio.Event()
        self._server: grpc.aio.Server | None = None

    @property
    def snapshot(self) -> Snapshot:
        """What was pushed last."""
        return self._snapshot

    @property
    def sessions(self) -> list[Session]:
        """The Envoys that are connected now."""
        return list(self._sessions)

    def prime(self, snapshot: Snapshot) -> None:
        """What Envoys get when they connect; before `open`, so that none is told to forget."""
        self._snapshot = snapshot

    async def open(self) -> None:
        """Serve the present snapshot; nothing happens if it is open."""
        if self._server is not None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_send_message_length", MAX_MESSAGE),
        ]
        server = grpc.aio.server(options=options)
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    SERVICE, {"DeltaAggregatedResources": handler}
                ),
                *self._beside,
            )
        )
        server.add_insecure_port(f"unix:{self._path}")
        await server.start()
        os.chmod(self._path, 0o600)
        self._server = server

    async def close(self) -> None:
        """End all streams; Envoys go on with what they have."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    async def push(self, snapshot: Snapshot, timeout: float) -> None:
        """Send the snapshot and return when each connected Envoy, at least one, has answered.

        Raises Unavailable after `timeout` seconds.
        """
        self._snapshot = snapshot
        for session in self._sessions:
            session.push(snapshot)
        try:
            async with asyncio.timeout(timeout):
                while not self._sessions or not all(s.synced() for s in self._sessions):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError as error:
            who = "has not taken its configuration" if self._sessions else "is not connected"
            raise Unavailable(
                f"Envoy {who} after {timeout:g}s.", "See envoy.log of the node."
            ) from error

    async def _stream(self, requests: Any, context: Any) -> None:
        session = Session(self._snapshot)
        self._sessions.append(session)
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write(session, context))
                async for request in requests:
                    session.receive(request)
                    self._progress.set()
                writer.cancel()
        finally:
            self._sessions.remove(session)
            self._progress.set()

    async def _write(self, session: Session, context: Any) -> None:
        with contextlib.suppress(grpc.aio.UsageError):
            while True:
                await context.write(await session.outbox.get())
