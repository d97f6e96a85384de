"""Configs and secrets: create, list, inspect, remove. A secret's value is never answered."""

from stackd.core.model.api import ContentRequest, ContentRow, ContentRows, Text
from stackd.core.model.ids import OBJECT_NAME
from stackd.core.model.release import ContentHead, ContentKind, ContentVersion
from stackd.core.model.times import rfc3339
from stackd.errors import Refused, Unknown
from stackd.manager.contents import Contents, NewContent, used_by
from stackd.store.tables import Tables
from stackd.wire.control import Caller


class ContentApi:
    """Handlers about contents."""

    def __init__(self, tables: Tables, contents: Contents) -> None:
        self._tables = tables
        self._contents = contents

    async def create(self, request: ContentRequest, caller: Caller) -> Text:
        """Keep a value under a name made by hand."""
        if not OBJECT_NAME.fullmatch(request.name):
            raise Refused(
                f"{request.name!r} is not a name.", "Use letters, digits, _ and -, at most 63."
            )
        kind = ContentKind(request.kind)
        version = await self._contents.put(
            NewContent(kind, request.name, request.value, caller.principal)
        )
        return Text(text=f"{kind} {request.name}: version {version}")

    async def list(self, request: ContentRequest, caller: Caller) -> ContentRows:
        """Every name of the kind."""
        heads = self._tables.world.all(ContentHead)
        return ContentRows(items=tuple(self._row(h) for h in heads if h.kind == request.kind))

    async def inspect(self, request: ContentRequest, caller: Caller) -> ContentRows:
        """One name; a config's current value too."""
        kind = ContentKind(request.kind)
        head = self._tables.world.get(ContentHead, f"{kind}/{request.name}")
        if head is None:
            raise Unknown(f"There is no {kind} {request.name}.", f"See: stackd {kind} ls")
        return ContentRows(items=(self._row(head, show=request.show),))

    async def remove(self, request: ContentRequest, caller: Caller) -> Text:
        """Remove a name, or revoke one version."""
        kind = ContentKind(request.kind)
        text = await self._contents.remove(kind, request.name, request.version, caller.principal)
        return Text(text=text)

    def _row(self, head: ContentHead, *, show: bool = False) -> ContentRow:
        world = self._tables.world
        versions = [
            v for v in world.all(ContentVersion) if v.kind == head.kind and v.name == head.name
        ]
        current = next((v for v in versions if v.version == head.version), None)
        value = None
        if show and head.kind is ContentKind.CONFIG and current is not None:
            value = current.value.decode("utf-8", "replace")
        by_age = sorted(versions, key=lambda v: -v.created)
        return ContentRow(
            kind=head.kind.value,
            name=head.name,
            version=head.version,
            versions=tuple(v.version + (" revoked" if v.revoked else "") for v in by_age),
            stack=head.stack,
            created=rfc3339(current.created if current else 0),
            size=current.size if current else 0,
            used_by=tuple(used_by(world, head.kind, head.name)),
            value=value,
        )
