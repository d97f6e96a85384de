"""Images on this node: manifest and config verified, layers unpacked.

Conforms to the agent's `Images` protocol. Where blobs come from is the agent's affair: it gives a
`fetch` that returns the path of a blob by its digest. Fetched bytes are not trusted: a blob that is
not what its digest says is deleted and fetched once more.
"""

import asyncio
import hashlib
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from stackd.aio.layout import NodeLayout
from stackd.core.container import manifest
from stackd.core.model.driver import ImageConfig, LocalImage
from stackd.errors import Rejected, Unavailable
from stackd.host import layers

Fetch = Callable[[str], Awaitable[Path]]
"""`sha256:…` -> path of the blob. Raises Rejected, Unavailable. Called again after the file it
gave has been deleted, it fetches anew."""

_TRIES = 2


class NodeImages:
    """The images of one node."""

    def __init__(self, layout: NodeLayout, store: layers.LayerStore, fetch: Fetch) -> None:
        self._records = layout.images
        self._layers = store
        self._fetch = fetch
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def ensure(self, image: str) -> LocalImage:
        """Fetch, verify and unpack `name@sha256:…` unless it is there. Raises Rejected when it
        cannot be had or is not sound, Unavailable to try again."""
        digest = manifest.digest_of(image)
        async with self._locks[digest]:
            try:
                known = self._recorded(digest)
                if known is not None and all(self._layers.has(item) for item in known.layers):
                    return known
                found = await self._obtain(digest)
                self._record(digest, found)
            except OSError as error:
                raise Unavailable(
                    f"The image cannot be kept: {error.strerror or error}.",
                    "Look at the disk of the node.",
                ) from error
            return found

    def present(self) -> dict[str, tuple[str, ...]]:
        """Digest -> diffIDs of every image recorded here."""
        digests = (f"sha256:{path.stem}" for path in sorted(self._records.glob("*.json")))
        known = ((digest, self._recorded(digest)) for digest in digests)
        return {digest: image.layers for digest, image in known if image is not None}

    def forget(self, digest: str) -> None:
        """Drop the record of an image; its layers go with the next `LayerStore.prune`."""
        self._path(digest).unlink(missing_ok=True)

    async def _obtain(self, digest: str) -> LocalImage:
        machine = os.uname().machine
        parsed = manifest.parse(await self._document(digest), machine)
        if isinstance(parsed, str):
            parsed = manifest.parse(await self._document(parsed), machine)
        if isinstance(parsed, str):
            raise Rejected("The image is an index of indexes.", "Build it again.")
        diff_ids, config = manifest.parse_config(await self._document(parsed.config.digest))
        if len(diff_ids) != len(parsed.layers):
            raise Rejected("The image names other layers than its config.", "Build it again.")
        for blob, diff_id in zip(parsed.layers, diff_ids, strict=True):
            await self._layer(blob.digest, diff_id)
        return LocalImage(digest, diff_ids, config)

    async def _document(self, digest: str) -> bytes:
        """A manifest or config, verified."""
        for _ in range(_TRIES):
            path = await self._fetch(digest)
            with path.open("rb") as file:
                data = file.read(manifest.LARGEST_DOCUMENT + 1)
            if len(data) > manifest.LARGEST_DOCUMENT:
                raise Rejected(
                    f"A document of the image is larger than {manifest.LARGEST_DOCUMENT} bytes.",
                    "Build it again.",
                )
            if f"sha256:{hashlib.sha256(data).hexdigest()}" == digest:
                return data
            path.unlink(missing_ok=True)
        raise Unavailable(
            f"The blob {digest} is damaged at its source.", "Load or pull the image again."
        )

    async def _layer(self, digest: str, diff_id: str) -> None:
        if self._layers.has(diff_id):
            return
        cause = ""
        for _ in range(_TRIES):
            path = await self._fetch(digest)
            try:
                await self._layers.ensure(path, digest, diff_id)
                return
            except layers.Damaged as error:
                cause = str(error)
                path.unlink(missing_ok=True)
        raise Unavailable(
            f"The blob {digest} is damaged at its source: {cause}.",
            "Load or pull the image again.",
        )

    def _path(self, digest: str) -> Path:
        return self._records / f"{digest.removeprefix('sha256:')}.json"

    def _recorded(self, digest: str) -> LocalImage | None:
        try:
            document = msgspec.json.decode(self._path(digest).read_bytes(), type=_Record)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return LocalImage(digest, document.layers, document.config)

    def _record(self, digest: str, image: LocalImage) -> None:
        self._records.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(digest)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(_Record(image.layers, image.config)))
        fresh.rename(path)


class _Record(msgspec.Struct, frozen=True):
    """What is kept of an image on disk."""

    layers: tuple[str, ...]
    config: ImageConfig
