"""Revision ids: the same container always has the same id, whatever version of stackd made it.

The canonical form leaves out every field that has its default value, so a field added later with
a default changes no id and upgrading stackd rolls nothing (a golden test holds this).
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from stackd.core.model.container import ContainerSpec, Grant
from stackd.core.model.ids import RevisionId
from stackd.core.model.release import ContentHead, ContentVersion, Release, Revision
from stackd.core.model.stack import ServiceSpec
from stackd.core.model.world import World
from stackd.errors import Refused

FORMAT = b"stackd revision 1\n"


def pinned(spec: ContainerSpec, image: str, versions: Mapping[str, str]) -> ContainerSpec:
    """`spec` with its image by digest (`name@sha256:…`) and each grant's version filled in.

    `versions` maps `config/NAME` and `secret/NAME` (names of the stack file) to version ids.
    """

    def fill(kind: str, grants: tuple[Grant, ...]) -> tuple[Grant, ...]:
        return tuple(
            msgspec.structs.replace(grant, version=versions[f"{kind}/{grant.name}"])
            for grant in grants
        )

    return msgspec.structs.replace(
        spec,
        image=image,
        configs=fill("config", spec.configs),
        secrets=fill("secret", spec.secrets),
    )


def revision_id(container: ContainerSpec) -> RevisionId:
    """First 12 hex digits of SHA-256 over the canonical form of a pinned container.

    Of the image only the digest counts: the same bytes under another name are the same revision.
    Whether a volume is shared decides how a service may be rolled out, not what a task is.
    """
    canonical = msgspec.structs.replace(
        container,
        image=container.image.rpartition("@")[2],
        mounts=tuple(msgspec.structs.replace(m, shared=False) for m in container.mounts),
    )
    body = msgspec.json.encode(_sparse(canonical), order="sorted")
    return RevisionId(hashlib.sha256(FORMAT + body).hexdigest()[:12])


def _sparse(value: Any) -> Any:
    """`value` in plain types without any field that equals its default (msgspec's own omission
    compares nested values by identity, which would tell equal containers apart)."""
    match value:
        case msgspec.Struct():
            return {
                field.encode_name: _sparse(item)
                for field in msgspec.structs.fields(value)
                if (item := getattr(value, field.name)) != _default(field)
            }
        case Mapping():
            return {str(key): _sparse(item) for key, item in value.items()}
        case tuple() | list():
            return [_sparse(item) for item in value]
        case _:
            return value


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def revision_of(stack: str, spec: ServiceSpec, image: str, versions: Mapping[str, str]) -> Revision:
    """The revision that `spec` declares with this image digest and these content versions."""
    container = pinned(spec.container, image, versions)
    return Revision(
        stack=stack,
        service=spec.name,
        id=revision_id(container),
        container=container,
        image_name=spec.container.image,
    )


def renewed(world: World, revision: Revision) -> tuple[Revision, tuple[str, ...]]:
    """`revision` with the current version of each content whose pinned one was revoked, and a
    sentence for each; the same revision when there is none. Raises Refused when a content has no
    version any more."""
    release = _declaring(world, revision)
    spec = release.spec if release else None
    versions: dict[str, str] = {}
    notes: list[str] = []
    for kind, grants in (
        ("config", revision.container.configs),
        ("secret", revision.container.secrets),
    ):
        declared = (spec.configs if kind == "config" else spec.secrets) if spec else {}
        for grant in grants:
            known = declared.get(grant.name)
            name = known.name if known else f"{revision.stack}_{grant.name}"
            version = _valid(world, f"{kind}/{name}", grant.version)
            versions[f"{kind}/{grant.name}"] = version
            if version != grant.version:
                notes.append(
                    f"version {grant.version} of {kind} {name} was revoked, {version} is used"
                )
    if not notes:
        return revision, ()
    container = pinned(revision.container, revision.container.image, versions)
    fresh = msgspec.structs.replace(
        revision,
        id=revision_id(container),
        container=container,
        release=release.number if release else 0,
    )
    return fresh, tuple(notes)


def _declaring(world: World, revision: Revision) -> Release | None:
    """The newest release that has the revision: its names are the ones meant."""
    having = [
        release
        for release in world.all(Release)
        if release.stack == revision.stack
        and (part := release.services.get(revision.service)) is not None
        and part.revision == revision.id
    ]
    if not having and revision.release:
        return world.release(revision.stack, revision.release)
    return max(having, key=lambda release: release.number, default=None)


def _valid(world: World, content: str, version: str) -> str:
    found = world.get(ContentVersion, f"{content}/{version}")
    if found is not None and not found.revoked:
        return version
    head = world.get(ContentHead, content)
    if head is None:
        kind, _, name = content.partition("/")
        raise Refused(
            f"There is no {kind} {name} any more.", f"Create it: stackd {kind} create {name} FILE"
        )
    return head.version
