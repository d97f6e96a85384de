"""Which digest the image string of each service means: asked once, then recorded until it changes.

Used by `manager.deployer`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from stackd.core.model.release import Digest
from stackd.core.model.stack import ServiceSpec, StackSpec
from stackd.errors import Refused, StackdError
from stackd.store.tables import Tables

_Outcome = tuple[str, bool] | StackdError


class Resolver(Protocol):
    """Image names to digests."""

    async def resolve(self, image: str) -> tuple[str, bool]:
        """(`sha256:…`, whether it is a local name). Raises Refused or Unavailable."""
        ...

    async def ensure(self, image: str) -> object:
        """Make `name@sha256:…` whole in the cluster's blob store. Raises Refused, Unavailable."""
        ...

    def normalise(self, image: str) -> str:
        """The full name without tag or digest, e.g. for `name@sha256:…`."""
        ...


@dataclass(frozen=True, slots=True)
class Resolution:
    """What was found. `failed`: service -> why its image could not be had."""

    digests: Sequence[Digest]
    notes: Sequence[str]
    failed: Mapping[str, str]


class Digests:
    """Looks images of stacks up."""

    def __init__(self, tables: Tables, resolver: Resolver) -> None:
        self._tables = tables
        self._resolver = resolver

    async def resolve(self, spec: StackSpec, *, pull: bool) -> Resolution:
        """A digest for each service: the recorded one while the image string is the same, unless
        `pull`."""
        digests: list[Digest] = []
        notes: list[str] = []
        failed: dict[str, str] = {}
        found: dict[str, _Outcome] = {}
        for name, service in sorted(spec.services.items()):
            image = service.container.image
            recorded = self._current(spec.name, service)
            if recorded is not None and not pull:
                digests.append(recorded)
                notes += await self._moved(recorded, found)
                continue
            outcome = await self._look_up(image, found)
            if isinstance(outcome, StackdError):
                failed[name] = f"{spec.name}/{name}: {_named(image, outcome)}"
                continue
            digests.append(
                Digest(
                    stack=spec.name,
                    service=name,
                    image=image,
                    digest=outcome[0],
                    local=outcome[1],
                )
            )
        return Resolution(digests, notes, failed)

    async def fetch(self, found: Resolution) -> Resolution:
        """Make the images present; those that cannot be had have failed, too."""
        kept: list[Digest] = []
        failed = dict(found.failed)
        for digest in found.digests:
            try:
                await self._resolver.ensure(self.name(digest))
                kept.append(digest)
            except StackdError as error:
                failed[digest.service] = f"{digest.key}: {_named(digest.image, error)}"
        return Resolution(kept, found.notes, failed)

    def name(self, digest: Digest) -> str:
        """The image as a revision has it: the full name and the digest."""
        return f"{self._resolver.normalise(digest.image)}@{digest.digest}"

    def recorded(self, stack: str, service: str) -> str:
        """The image of a service as it was recorded. Raises Refused when none was."""
        digest = self._tables.world.get(Digest, f"{stack}/{service}")
        if digest is None:
            raise Refused(
                f"{stack}/{service} has no recorded image.", "Apply it again with --pull."
            )
        return self.name(digest)

    def _current(self, stack: str, service: ServiceSpec) -> Digest | None:
        """What is recorded, while it is of the image string that the service has."""
        recorded = self._tables.world.get(Digest, f"{stack}/{service.name}")
        return recorded if recorded and recorded.image == service.container.image else None

    async def _moved(self, recorded: Digest, found: dict[str, _Outcome]) -> list[str]:
        """A note when a local name now means other bytes than the recorded ones."""
        if not recorded.local:
            return []
        outcome = await self._look_up(recorded.image, found)
        if isinstance(outcome, StackdError) or outcome[0] == recorded.digest:
            return []
        return [
            f"{recorded.stack}/{recorded.service}: {recorded.image} now is {outcome[0][:19]}, "
            f"{recorded.digest[:19]} is recorded and stays; use --pull to take the new one."
        ]

    async def _look_up(self, image: str, found: dict[str, _Outcome]) -> _Outcome:
        if image not in found:
            try:
                found[image] = await self._resolver.resolve(image)
            except StackdError as error:
                found[image] = error
        return found[image]


def _named(image: str, error: StackdError) -> str:
    """The cause, and which image it is about."""
    return error.cause if image in error.cause else f"image {image}: {error.cause}"
