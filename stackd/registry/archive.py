"""`image load`: images in a folder or file on the manager's machine, into the blob store.

OCI layouts and OCI archives (also what newer `docker save` writes) are read here, blob by blob,
each checked against its digest; a docker-archive is converted by skopeo first. Names are the
archive's own. Nothing is unpacked to disk but blobs under their digests.
"""

import asyncio
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, TypeVar

import msgspec

from stackd.errors import Refused
from stackd.registry import manifest
from stackd.registry.blobs import CHUNK, BlobStore
from stackd.registry.manifest import Descriptor, Index, Manifest
from stackd.registry.reference import Reference, check_digest, parse
from stackd.registry.skopeo import Skopeo

T = TypeVar("T")
MAX_MEMBERS = 50_000
_NAME_KEYS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(frozen=True, slots=True)
class Loaded:
    """One image that is now in the blob store, and the names its archive gives it."""

    digest: str
    names: tuple[Reference, ...]


class _Source(Protocol):
    """Files of a layout, in a folder or in a tar."""

    def open(self, name: str) -> IO[bytes] | None:
        """A regular file of that name, or None."""
        ...


class _DockerImage(msgspec.Struct, frozen=True):
    """An entry of a docker-archive's manifest.json."""

    repo_tags: list[str] | None = msgspec.field(default=None, name="RepoTags")


class Loader:
    """Reads archives into `blobs`."""

    def __init__(self, blobs: BlobStore, skopeo: Skopeo) -> None:
        self._blobs = blobs
        self._skopeo = skopeo

    async def load(self, path: Path, tag: str) -> Sequence[Loaded]:
        """Every image in `path`. With `tag` there must be one image, and that is its name.

        Raises Refused: no such file, not an image archive, damaged, ambiguous, without a name.
        """
        name = parse(tag) if tag else None
        try:
            if path.is_dir():
                return await asyncio.to_thread(self._layout, _Folder(path), name)
            with _open_tar(path) as source:
                if await asyncio.to_thread(source.has, "index.json"):
                    return await asyncio.to_thread(self._layout, source, name)
                listing = await asyncio.to_thread(source.read, "manifest.json")
        except (tarfile.TarError, EOFError, RecursionError, ValueError) as error:
            raise _not_an_archive(path) from error
        except OSError as error:
            raise Refused(f"{path} cannot be read: {error.strerror or error}.") from error
        if listing is None:
            raise _not_an_archive(path)
        return await self._docker_archive(path, listing, name)

    def _layout(self, source: _Source, name: Reference | None) -> list[Loaded]:
        index = manifest.parse(_read(source, "index.json") or b"")
        if not isinstance(index, Index):
            raise Refused("The layout's index.json is not an index.", "Make the archive again.")
        found = _named([(item, _names_of(item.annotations)) for item in index.manifests], name)
        for item, _ in found:
            self._take_image(source, item, nested=False)
        self._blobs.sync_folder()
        return [Loaded(item.digest, names) for item, names in found]

    def _take_image(self, source: _Source, item: Descriptor, *, nested: bool) -> None:
        """A manifest and its blobs, or an index and those of its manifests that are there."""
        document = self._take_document(source, item)
        parsed = manifest.parse(document)
        if isinstance(parsed, Manifest):
            self._take_blobs(source, parsed)
            return
        if nested:
            raise Refused("The image is an index within an index.", "Make the archive again.")
        present = [child for child in parsed.manifests if self._is_there(source, child)]
        if not present:
            raise Refused("The archive holds an index without its manifests.")
        for child in present:
            self._take_image(source, child, nested=True)

    def _is_there(self, source: _Source, item: Descriptor) -> bool:
        if self._blobs.has(item.digest):
            return True
        file = source.open(_blob_name(item.digest))
        if file is None:
            return False
        file.close()
        return True

    def _take_document(self, source: _Source, item: Descriptor) -> bytes:
        if item.size > manifest.MAX_DOCUMENT:
            raise Refused("A manifest in the archive is larger than 4 MiB.")
        self._take(source, item)
        return self._blobs.read(item.digest, manifest.MAX_DOCUMENT)

    def _take_blobs(self, source: _Source, image: Manifest) -> None:
        config = manifest.parse_config(self._take_document(source, image.config))
        if len(config.layers) != len(image.layers):
            raise Refused("The image's config and its manifest disagree on its layers.")
        for layer in image.layers:
            self._take(source, layer)

    def _take(self, source: _Source, item: Descriptor) -> None:
        """One blob, unless a sound one is there already."""
        if self._blobs.has(item.digest, item.size) and self._blobs.verify(item.digest):
            return
        self._blobs.discard(item.digest)
        file = source.open(_blob_name(item.digest))
        if file is None:
            raise Refused(f"The archive lacks the blob {item.digest}.", "Make the archive again.")
        with file:
            self._blobs.take(item.digest, _chunks(file), item.size)
        if not self._blobs.has(item.digest, item.size):
            self._blobs.discard(item.digest)
            raise Refused(f"The blob {item.digest} has another size than its manifest says.")

    async def _docker_archive(
        self, path: Path, listing: bytes, name: Reference | None
    ) -> Sequence[Loaded]:
        try:
            images = msgspec.json.decode(listing, type=list[_DockerImage])
        except msgspec.DecodeError as error:
            raise _not_an_archive(path) from error
        tags = [tuple(parse(text) for text in image.repo_tags or ()) for image in images]
        found = _named(list(enumerate(tags)), name)
        loaded = []
        with tempfile.TemporaryDirectory(dir=self._blobs.tmp, prefix="load-") as folder:
            link = Path(folder) / "archive"
            link.symlink_to(path.resolve())
            for position, names in found:
                layout = Path(folder) / f"layout{position}"
                await self._skopeo.copy_archive(f"docker-archive:{link}:@{position}", layout)
                given = _Folder(layout)
                converted = await asyncio.to_thread(self._layout, given, names[0])
                loaded.append(Loaded(converted[0].digest, names))
        return loaded


class _Folder:
    """A layout on disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, name: str) -> IO[bytes] | None:
        path = self._root / name
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return None
            return open(path, "rb")
        except FileNotFoundError:
            return None


class _Tar:
    """A layout in a tar file; only regular files are seen, by their plain names."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members: Mapping[str, tarfile.TarInfo] | None = None

    def __enter__(self) -> "_Tar":
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def _found(self) -> Mapping[str, tarfile.TarInfo]:
        """Read the headers once. Offsets must grow: a header that lies about its size could
        otherwise be read for ever."""
        if self._members is None:
            members: dict[str, tarfile.TarInfo] = {}
            last, count = -1, 0
            while (member := self._tar.next()) is not None:
                count += 1
                if member.offset <= last or member.size < 0 or count > MAX_MEMBERS:
                    raise tarfile.ReadError("headers out of bounds")
                last = member.offset
                if member.isreg():
                    members[member.name.removeprefix("./")] = member
            self._members = members
        return self._members

    def has(self, name: str) -> bool:
        return name in self._found()

    def read(self, name: str) -> bytes | None:
        return _read(self, name)

    def open(self, name: str) -> IO[bytes] | None:
        member = self._found().get(name)
        return self._tar.extractfile(member) if member else None


def _open_tar(path: Path) -> _Tar:
    try:
        return _Tar(tarfile.open(path, "r:*"))
    except FileNotFoundError as error:
        raise Refused(
            f"There is no file {path} on the manager's machine.", "Check the path."
        ) from error


def _named(
    images: Sequence[tuple[T, tuple[Reference, ...]]], name: Reference | None
) -> list[tuple[T, tuple[Reference, ...]]]:
    """Each image with the names it gets. Raises Refused if one would get none."""
    if not images:
        raise Refused("The archive holds no image.", "Make the archive again.")
    if name is not None:
        if len(images) > 1:
            raise Refused(
                f"The archive holds {len(images)} images, which cannot share one name.",
                "Leave out --tag to take the archive's own names.",
            )
        return [(images[0][0], (name,))]
    if not all(names for _, names in images):
        raise Refused("The archive does not name its image.", "Give the name with --tag NAME.")
    return list(images)


def _names_of(annotations: Mapping[str, str]) -> tuple[Reference, ...]:
    """A value without `/` or `:` is a bare tag, which names nothing."""
    for key in _NAME_KEYS:
        value = annotations.get(key, "")
        if "/" in value or ":" in value:
            return (parse(value),)
    return ()


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{check_digest(digest)}"


def _read(source: _Source, name: str) -> bytes | None:
    file = source.open(name)
    if file is None:
        return None
    with file:
        return file.read(manifest.MAX_DOCUMENT + 1)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _not_an_archive(path: Path) -> Refused:
    return Refused(
        f"{path} is not an image archive.",
        "Give an OCI layout folder, an OCI archive, or what `docker save` wrote.",
    )
