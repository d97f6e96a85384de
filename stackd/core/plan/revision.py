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
from stackd.core.model.release import Revision
from stackd.core.model.stack import ServiceSpec

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
