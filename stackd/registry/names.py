"""Which digest a local image name means: `names.json` beside the blobs.

A name that was loaded is `local` and wins over registries; one that was pulled is only kept from
being cleaned away.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from stackd.aio.files import write_private
from stackd.errors import Corrupt
from stackd.registry.reference import Reference


class LocalName(msgspec.Struct, frozen=True, kw_only=True):
    """An image name that this cluster keeps. `digest` is of a manifest or an index."""

    name: str
    digest: str
    local: bool


class Names:
    """The index of names, read once and written whole at each change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names = self._read()

    def _read(self) -> dict[str, LocalName]:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            found = msgspec.json.decode(content, type=list[LocalName])
        except msgspec.DecodeError as error:
            raise Corrupt(
                f"{self._path} cannot be read.", "Restore it from a backup, or remove it."
            ) from error
        return {item.name: item for item in found}

    def get(self, reference: Reference) -> LocalName | None:
        """What is kept under the reference's tagged name."""
        return self._names.get(reference.tagged)

    def set(self, reference: Reference, digest: str, *, local: bool) -> LocalName:
        """Keep a name, durable when this returns."""
        item = LocalName(name=reference.tagged, digest=digest, local=local)
        if self._names.get(item.name) != item:
            self._names[item.name] = item
            self._write()
        return item

    def remove(self, name: str) -> None:
        """Forget a tagged name."""
        if self._names.pop(name, None) is not None:
            self._write()

    def _write(self) -> None:
        rows = [self._names[name] for name in sorted(self._names)]
        write_private(self._path, msgspec.json.format(msgspec.json.encode(rows)))

    def __iter__(self) -> Iterator[LocalName]:
        return iter([self._names[name] for name in sorted(self._names)])
