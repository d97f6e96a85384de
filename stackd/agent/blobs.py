"""Where this node gets blobs from: its own store, the cluster's if that is on this machine, else
the connected manager, verified.

`host.images` asks here for each manifest and layer.
"""

import logging
from pathlib import Path

from stackd.errors import Refused, Rejected, Unavailable
from stackd.registry.blobs import BlobStore
from stackd.wire.agent_client import ManagerConnection

_log = logging.getLogger(__name__)
LIMIT = 20 * 1024**3
"""Bytes of one blob."""


class Blobs:
    """Fetches over whichever session stands; `connected` is told of each."""

    def __init__(self, store: BlobStore, beside: BlobStore) -> None:
        """`beside`: the cluster's store, where a manager on this machine has it."""
        self._store = store
        self._beside = beside
        self._connection: ManagerConnection | None = None

    def connected(self, connection: ManagerConnection | None) -> None:
        """A session stands (or has ended: None)."""
        self._connection = connection

    async def fetch(self, digest: str) -> Path:
        """The blob's file. Raises Rejected when the manager has none or it is not sound,
        Unavailable when no manager answers."""
        if not (self._store.has(digest) or self._store.share(digest, self._beside)):
            connection = self._connection
            if connection is None:
                raise Unavailable(f"No manager is connected to fetch {digest[:19]} from.")
            try:
                await self._store.put(digest, connection.blob(digest), LIMIT)
            except Refused as error:
                raise Rejected(error.cause, error.remedy) from error
        return self._store.path(digest)
