"""From an image as a stack file writes it to the digest it means now.

Local names win over registries. Called once per (stack, service, image string) by the deployer,
which keeps the answer.
"""

from collections.abc import Callable
from typing import NamedTuple

from stackd.registry.blobs import BlobStore
from stackd.registry.names import Names
from stackd.registry.reference import Reference, parse
from stackd.registry.skopeo import Access, Skopeo

AccessTo = Callable[[str], Access]
"""Registry host -> how to speak to it."""


class Resolved(NamedTuple):
    """What an image string means. `local`: by a name that was loaded here."""

    digest: str
    local: bool


class Resolver:
    """Looks at local names first, then asks the registry."""

    def __init__(self, names: Names, blobs: BlobStore, skopeo: Skopeo, access: AccessTo) -> None:
        self._names = names
        self._blobs = blobs
        self._skopeo = skopeo
        self._access = access

    def local(self, image: str) -> str:
        """The digest that a loaded name means now; empty when it is no local name."""
        found = self._names.get(parse(image))
        return found.digest if found is not None and found.local else ""

    async def resolve(self, image: str) -> Resolved:
        """Raises Refused (bad name, unknown, not allowed) or Unavailable (no answer)."""
        reference = parse(image)
        if reference.digest:
            return Resolved(reference.digest, self._blobs.has(reference.digest))
        if digest := self.local(image):
            return Resolved(digest, True)
        digest, document = await self.ask(reference)
        self._blobs.take(digest, [document], len(document))
        return Resolved(digest, False)

    async def ask(self, reference: Reference) -> tuple[str, bytes]:
        """What the registry holds under that name: digest and bytes of its manifest."""
        return await self._skopeo.manifest(reference, self._access(reference.registry))
