"""Images of the cluster: what the manager's API and deployer call.

Every image that runs is in the cluster's blob store; agents fetch its blobs by digest from here.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stackd.errors import Refused, Unknown
from stackd.registry import manifest
from stackd.registry.archive import Loader
from stackd.registry.blobs import BlobStore
from stackd.registry.manifest import Descriptor, Index, Manifest
from stackd.registry.names import LocalName, Names
from stackd.registry.reference import Reference, parse
from stackd.registry.resolve import AccessTo, Resolved, Resolver
from stackd.registry.skopeo import Access, Skopeo


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """One image as `image ls` and `image inspect` show it. `size` is of its packed layers."""

    name: str
    digest: str
    size: int
    local: bool
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Needs:
    """What the service is given by the manager. `in_use`: digests that must stay, because a
    revision names them."""

    access: AccessTo
    in_use: Callable[[], Iterable[str]]
    architecture: str


class ImageService:
    """Load, pull, resolve, list, remove, and hand out blobs."""

    def __init__(self, blobs: BlobStore, private: Path, needs: Needs) -> None:
        blobs.prepare()
        self._blobs = blobs
        self._needs = needs
        self._names = Names(blobs.root / "names.json")
        self._skopeo = Skopeo(blobs.root, blobs.tmp, private)
        self._loader = Loader(blobs, self._skopeo)
        self._resolver = Resolver(self._names, blobs, self._skopeo, needs.access)
        self._pulls: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._importing = 0
        self._collecting = asyncio.Lock()
        self._known: dict[str, Manifest] = {}

    async def load(self, path: Path, tag: str = "") -> Sequence[ImageInfo]:
        """Take in an archive; its names are local from now on. Raises Refused."""
        async with self._import():
            loaded = await self._loader.load(path, tag)
            names = [
                self._names.set(name, image.digest, local=True)
                for image in loaded
                for name in image.names
            ]
        return [self._info(item) for item in names]

    async def pull(self, image: str) -> ImageInfo:
        """Fetch what a name means now and keep it. Raises Refused, Unavailable."""
        reference = parse(image)
        async with self._import():
            digest, document = await self._resolver.ask(reference)
            self._blobs.take(digest, [document], len(document))
            await self._complete(reference.at(digest))
            return self._info(self._names.set(reference, digest, local=False))

    async def resolve(self, image: str) -> Resolved:
        """The digest an image string means now. Raises Refused, Unavailable."""
        return await self._resolver.resolve(image)

    def normalise(self, image: str) -> str:
        """The full name without tag and digest: what stands before `@sha256:…`."""
        return parse(image).name

    def local(self, image: str) -> str:
        """The digest that a loaded name means now; empty when it is no local name."""
        return self._resolver.local(image)

    async def ensure(self, image: str, architecture: str = "", *, again: bool = False) -> Manifest:
        """Make `name@sha256:…` whole in the blob store for one architecture (default: the
        manager's); pulls what is missing. Every byte is checked once in the life of this
        process, and `again` when an agent has found a blob damaged.

        Raises Refused, Unavailable.
        """
        reference = parse(image)
        if not reference.digest:
            raise Refused(f"{image} is not pinned to a digest.")
        if again:
            self._known.clear()
        async with self._import():
            return await self._complete(reference, architecture)

    async def _complete(self, reference: Reference, architecture: str = "") -> Manifest:
        """One at a time for each digest: the others find it done."""
        async with self._pulls[reference.digest]:
            parsed = await self._document(reference)
            if isinstance(parsed, Index):
                chosen = manifest.pick(parsed, architecture or self._needs.architecture)
                reference = reference.at(chosen.digest)
                await self._document(reference)
            known = self._known.get(reference.digest)
            if known is not None and all(self._blobs.has(b.digest, b.size) for b in known.blobs):
                return known
            image = await asyncio.to_thread(self._whole, reference.digest)
            if image is None:
                await self._skopeo.copy(reference, self._needs.access(reference.registry))
                image = await asyncio.to_thread(self._whole, reference.digest)
            if image is None:
                raise Refused(f"{reference.short} came incomplete.", "Pull it again.")
            self._known[reference.digest] = image
            return image

    async def _document(self, reference: Reference) -> Manifest | Index:
        """What a digest names, judged before anything else of it is fetched."""
        if (document := self._stored(reference.digest)) is None:
            _, document = await self._resolver.ask(reference)
            self._blobs.take(reference.digest, [document], len(document))
        return manifest.parse(document)

    def _stored(self, digest: str) -> bytes | None:
        try:
            return self._blobs.read(digest, manifest.MAX_DOCUMENT)
        except Refused:
            return None

    def _whole(self, digest: str) -> Manifest | None:
        """The manifest when all its blobs are here and sound; damaged ones are removed, since
        skopeo would take them for good."""
        document = self._stored(digest)
        if document is None:
            return None
        image = manifest.parse(document)
        if not isinstance(image, Manifest):
            raise Refused("The image is an index within an index.")
        sound = [self._sound(blob) for blob in image.blobs]
        if not all(sound):
            return None
        for blob in image.blobs:
            self._blobs.sync(blob.digest)
        self._blobs.sync_folder()
        return image

    def _sound(self, blob: Descriptor) -> bool:
        if self._blobs.has(blob.digest, blob.size) and self._blobs.verify(blob.digest):
            return True
        self._blobs.discard(blob.digest)
        return False

    async def try_login(self, host: str, access: Access) -> None:
        """Ask a registry whether it takes these credentials. Raises Refused, Unavailable."""
        await self._skopeo.login(host, access)

    def ls(self) -> Sequence[ImageInfo]:
        """Every name that is kept, in order."""
        return [self._info(item) for item in self._names]

    def inspect(self, image: str) -> ImageInfo:
        """One name. Raises Refused when it is not kept here."""
        return self._info(self._kept(image))

    async def rm(self, image: str) -> int:
        """Forget a name and remove what nothing needs any more; returns the bytes freed."""
        self._names.remove(self._kept(image).name)
        return await self.collect()

    async def collect(self) -> int:
        """Remove blobs that no name and no revision needs; not while images come in, since
        theirs are not named yet. Returns the bytes freed."""
        async with self._collecting:
            if self._importing:
                return 0
            roots = {item.digest for item in self._names} | set(self._needs.in_use())
            wanted = frozenset(blob for root in roots for blob in self._reachable(root))
            return await asyncio.to_thread(self._blobs.keep_only, wanted)

    def _reachable(self, digest: str) -> Iterable[str]:
        yield digest
        document = self._stored(digest)
        if document is None:
            return
        match manifest.parse(document):
            case Manifest() as image:
                yield from (blob.digest for blob in image.blobs)
            case Index(manifests):
                for child in manifests:
                    yield from self._reachable(child.digest)

    def open_blob(self, digest: str) -> Path:
        """The file of a blob. Raises Refused when it is not here."""
        path = self._blobs.path(digest)
        if not path.exists():
            raise Refused(f"The blob {digest} is not here.")
        return path

    def _kept(self, image: str) -> LocalName:
        found = self._names.get(parse(image))
        if found is None:
            raise Unknown(f"There is no image {image} here.", "See `stackd image ls`.")
        return found

    def _info(self, item: LocalName) -> ImageInfo:
        document = self._stored(item.digest)
        parsed = manifest.parse(document) if document is not None else None
        match parsed:
            case Manifest(_, layers):
                return _info_of(item, sum(layer.size for layer in layers), ())
            case Index(manifests):
                here = [one for one in manifests if self._blobs.has(one.digest)]
                return _info_of(item, self._size(here), tuple(one.platform for one in here))
            case None:
                return _info_of(item, 0, ())

    def _size(self, manifests: Iterable[Descriptor]) -> int:
        total = 0
        for one in manifests:
            document = self._stored(one.digest)
            image = manifest.parse(document) if document is not None else None
            if isinstance(image, Manifest):
                total += sum(layer.size for layer in image.layers)
        return total

    @contextlib.asynccontextmanager
    async def _import(self) -> AsyncIterator[None]:
        async with self._collecting:
            self._importing += 1
        try:
            yield
        finally:
            self._importing -= 1


def _info_of(item: LocalName, size: int, platforms: tuple[str, ...]) -> ImageInfo:
    short = parse(item.name).short
    return ImageInfo(short, item.digest, size, item.local, platforms)
