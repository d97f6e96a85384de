"""Configs and secrets: content-addressed versions behind one stable name.

A secret's value is sealed before it reaches the store and opened only for a node that has a task
with a grant, or publishes a service whose certificate it is. Version ids of secrets are keyed, so
that they tell nothing about the value.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from stackd.core.model.event import Event
from stackd.core.model.record import Change, Changes, Delete, Put, ref
from stackd.core.model.release import (
    ContentHead,
    ContentKind,
    ContentVersion,
    Release,
    Revision,
)
from stackd.core.model.rollout import ServiceState
from stackd.core.model.task import Task
from stackd.core.model.world import TaskView, World
from stackd.errors import Refused, Unknown
from stackd.manager.loop import Context
from stackd.store.seal import Sealer

LIMITS = {ContentKind.SECRET: 500 * 1024, ContentKind.CONFIG: 1000 * 1024}
"""Bytes, as the field's habit is."""
BATCH = 90
"""Records removed in one commit."""


@dataclass(frozen=True, slots=True)
class NewContent:
    """A value to keep under a name. `stack`: who declares it; '' = made by hand."""

    kind: ContentKind
    name: str
    value: bytes
    by: str
    stack: str = ""

    def __repr__(self) -> str:
        return f"NewContent({self.kind} {self.name})"


class Contents:
    """Keeps and opens contents."""

    def __init__(self, context: Context, sealer: Sealer) -> None:
        self._context = context
        self._tables = context.tables
        self._sealer = sealer

    def version_of(self, kind: ContentKind, name: str, value: bytes) -> str:
        """The version id of this value."""
        if kind is ContentKind.CONFIG:
            return hashlib.sha256(value).hexdigest()[:12]
        return self._sealer.keyed_hash(value, f"secret/{name}")[:12]

    async def put(self, new: NewContent) -> str:
        """Keep a version and make it the current one; returns its id. The same value again
        changes nothing. Raises Refused above the limit or for another stack's name."""
        world = self._tables.world
        if len(new.value) > LIMITS[new.kind]:
            raise Refused(
                f"{new.kind} {new.name} has {len(new.value)} bytes; the limit is "
                f"{LIMITS[new.kind]}.",
                "Keep large data in a volume.",
            )
        version = self.version_of(new.kind, new.name, new.value)
        record = ContentVersion(
            kind=new.kind,
            name=new.name,
            version=version,
            value=self._stored(new, version),
            size=len(new.value),
            created=self._context.clock.now(),
            by=new.by,
            stack=new.stack,
        )
        head = ContentHead(kind=new.kind, name=new.name, version=version, stack=new.stack)
        current = world.get(ContentHead, head.key)
        if current is not None and current.stack != new.stack:
            owner = f"stack {current.stack}" if current.stack else "the command line"
            raise Refused(
                f"{new.kind} {new.name} belongs to {owner}.", "Use another name, or external: true."
            )
        known = world.get(ContentVersion, record.key)
        changes: list[Change] = []
        if known is None or known.revoked:
            changes.append(Put(record=record))
        if current is None or current.version != version:
            changes.append(Put(record=head))
            changes.append(Put(record=self._event(new, version)))
        if changes:
            await self._tables.commit(Changes(changes=tuple(changes)), self._context.fence)
        return version

    def _stored(self, new: NewContent, version: str) -> bytes:
        if new.kind is ContentKind.CONFIG:
            return new.value
        return self._sealer.seal(new.value, _context(new.name, version))

    def _event(self, new: NewContent, version: str) -> Event:
        return Event(
            id=next(self._context.ids),
            at=self._context.clock.now(),
            kind=f"{new.kind}.changed",
            object=new.name,
            principal=new.by,
            text=f"{new.kind} {new.name}: version {version}",
        )

    def open(self, kind: ContentKind, name: str, version: str) -> bytes:
        """The clear value of one version. Raises Refused when it is unknown or revoked."""
        found = self._tables.world.get(ContentVersion, f"{kind}/{name}/{version}")
        if found is None or found.revoked:
            raise Refused(f"{kind} {name} has no version {version}.", "Deploy the stack again.")
        if kind is ContentKind.CONFIG:
            return found.value
        return self._sealer.open(found.value, _context(name, version))

    def current(self, kind: ContentKind, name: str) -> str:
        """The current version id of an existing name. Raises Refused when there is none."""
        head = self._tables.world.get(ContentHead, f"{kind}/{name}")
        if head is None:
            raise Refused(
                f"There is no {kind} {name}.", f"Make it: stackd {kind} create {name} FILE"
            )
        return head.version

    async def remove(self, kind: ContentKind, name: str, version: str, by: str) -> str:
        """Remove a name that nothing uses, or revoke one version; returns what was done."""
        world = self._tables.world
        head = world.get(ContentHead, f"{kind}/{name}")
        if head is None:
            raise Unknown(f"There is no {kind} {name}.", f"See: stackd {kind} ls")
        if version:
            return await self._revoke(head, version, by)
        users = used_by(world, kind, name)
        if users:
            raise Refused(
                f"{kind} {name} is used by {', '.join(users)}.",
                "Remove it from these stacks first.",
            )
        versions = [v for v in world.all(ContentVersion) if v.kind == kind and v.name == name]
        gone: list[Change] = [Delete(ref=ref(ContentHead, head.key))]
        gone += [Delete(ref=ref(ContentVersion, v.key)) for v in versions]
        for start in range(0, len(gone), BATCH):
            batch = Changes(changes=tuple(gone[start : start + BATCH]))
            await self._tables.commit(batch, self._context.fence)
        return f"Removed {kind} {name}."

    async def _revoke(self, head: ContentHead, version: str, by: str) -> str:
        key = f"{head.kind}/{head.name}/{version}"
        found = self._tables.world.get(ContentVersion, key)
        if found is None:
            raise Unknown(
                f"{head.kind} {head.name} has no version {version}.",
                f"See: stackd {head.kind} inspect {head.name}",
            )
        if version == head.version:
            raise Refused(
                f"{version} is the current version of {head.kind} {head.name}.",
                "Give it a new value first, then revoke this one.",
            )
        users = version_users(self._tables.world, found)
        if users:
            raise Refused(
                f"Version {version} of {head.kind} {head.name} is used by {', '.join(users)}.",
                "Deploy them with the current version first.",
            )
        revoked = ContentVersion(
            kind=found.kind,
            name=found.name,
            version=found.version,
            value=b"",
            size=found.size,
            created=found.created,
            by=by,
            stack=found.stack,
            revoked=True,
        )
        await self._tables.commit(Changes(changes=(Put(record=revoked),)), self._context.fence)
        return f"Revoked version {version} of {head.kind} {head.name}."


def _context(name: str, version: str) -> str:
    return f"secret/{name}/{version}"


def used_by(world: World, kind: ContentKind, name: str) -> list[str]:
    """`STACK/SERVICE` of every current release that grants this name."""
    found: set[str] = set()
    for release in world.all(Release):
        if world.release(release.stack) is not release:
            continue
        declared = release.spec.configs if kind is ContentKind.CONFIG else release.spec.secrets
        local = {key for key, spec in declared.items() if spec.name == name}
        for service, part in release.services.items():
            revision = world.get(Revision, f"{release.stack}/{service}/{part.revision}")
            container = revision.container if revision else part.spec.container
            grants = container.configs if kind is ContentKind.CONFIG else container.secrets
            certificate = part.spec.route.tls if part.spec.route is not None else ""
            names = {grant.name for grant in grants}
            if kind is ContentKind.SECRET:
                names.add(certificate)
            if names & local:
                found.add(f"{release.stack}/{service}")
    return sorted(found)


def version_users(world: World, content: ContentVersion) -> list[str]:
    """`STACK/SERVICE` of every service that may need this version for its next task: it is
    declared, stable, being rolled out, or running."""
    needed = {(view.task.stack, view.task.service, view.task.revision) for view in _live(world)}
    for release in world.all(Release):
        if world.release(release.stack) is release:
            needed |= {(release.stack, name, s.revision) for name, s in release.services.items()}
    for state in world.all(ServiceState):
        serving = [state.stable, state.rollout.target if state.rollout else None]
        needed |= {(state.stack, state.service, r) for r in serving if r is not None}
    found: set[str] = set()
    for stack, service, revision_id in needed:
        revision = world.get(Revision, f"{stack}/{service}/{revision_id}")
        if revision is not None and _grants(world, revision, content):
            found.add(f"{stack}/{service}")
    return sorted(found)


def _live(world: World) -> Iterator[TaskView]:
    views = (world.task(task.id) for task in world.all(Task))
    return (view for view in views if view is not None and view.live)


def _grants(world: World, revision: Revision, content: ContentVersion) -> bool:
    release = world.release(revision.stack)
    container = revision.container
    config = content.kind is ContentKind.CONFIG
    declared = (release.spec.configs if config else release.spec.secrets) if release else {}
    local = {key for key, spec in declared.items() if spec.name == content.name}
    return any(
        grant.version == content.version
        and (grant.name in local or f"{revision.stack}_{grant.name}" == content.name)
        for grant in (container.configs if config else container.secrets)
    )
