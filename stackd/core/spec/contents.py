"""`configs` and `secrets`: top-level declarations, and what services are granted."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

from stackd.core.model.container import Grant
from stackd.core.model.release import ContentKind
from stackd.core.model.stack import ContentSpec
from stackd.core.spec import paths
from stackd.core.spec.context import Context, Origin
from stackd.core.spec.fields import (
    FileMode,
    Flag,
    Labels,
    Name,
    Section,
    Text,
    whole,
)

MAX_BYTES: Mapping[ContentKind, int] = {
    ContentKind.SECRET: 500 * 1024,
    ContentKind.CONFIG: 1000 * 1024,
}
_FOLDER: Mapping[ContentKind, str] = {ContentKind.SECRET: "/run/secrets", ContentKind.CONFIG: "/"}
_MAX_ID = 2**31 - 1


class GrantEntry(Section):
    """One item of `configs` or `secrets` of a service."""

    source: Name
    target: Text | None = None
    uid: Annotated[int, whole(0, _MAX_ID)] | None = None
    gid: Annotated[int, whole(0, _MAX_ID)] | None = None
    mode: FileMode | None = None


def _long(data: Any) -> Any:
    return {"source": data} if isinstance(data, str) else data


GrantItem = Annotated[GrantEntry, BeforeValidator(_long, json_schema_input_type=Name | GrantEntry)]


class ContentSection(Section):
    """What configs and secrets have in common."""

    PLANNED: ClassVar[frozenset[str]] = frozenset({"template_driver"})

    name: Name | None = None
    content: Text | None = None
    file: Text | None = None
    environment: Text | None = None
    external: Flag | None = None
    labels: Labels | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The keys that say where the content comes from."""
        keys = ("content", "file", "environment")
        given = [key for key in keys if getattr(self, key) is not None]
        return tuple([*given, "external"] if self.external else given)


class ConfigSection(ContentSection):
    """One top-level config."""


class SecretSection(ContentSection):
    """One top-level secret."""

    PLANNED: ClassVar[frozenset[str]] = frozenset({"template_driver", "driver", "driver_opts"})


def build(stack: str, key: str, section: ContentSection) -> ContentSpec:
    """A declared config or secret with its defaults."""
    return ContentSpec(
        name=section.name or (key if section.external else f"{stack}_{key}"),
        external=bool(section.external),
        labels={key: value or "" for key, value in (section.labels or {}).items()},
    )


def content(kind: ContentKind, section: ContentSection, context: Context) -> bytes | None:
    """The bytes of a config or secret; None for an external one.

    Raises:
        ValueError: there is not exactly one source, or it gives nothing, or too much.
    """
    if len(section.sources) != 1:
        words = "`content`, `file`, `environment` or `external`"
        given = f", not {' and '.join(section.sources)}" if section.sources else ""
        raise ValueError(f"a {kind} has exactly one of {words}{given}")
    found = _bytes(section, context)
    if found is not None and len(found) > MAX_BYTES[kind]:
        raise ValueError(f"a {kind} has at most {MAX_BYTES[kind] // 1024} KiB")
    return found


def _bytes(section: ContentSection, context: Context) -> bytes | None:
    if section.content is not None:
        return section.content.encode()
    if section.file is not None:
        name = paths.resolve(section.file, context.origin)
        if name not in context.files:
            raise ValueError(f"there is no file {section.file}")
        return context.files[name]
    if section.environment is not None:
        if context.origin is Origin.GIT:
            raise ValueError("`environment` is the caller's, and Git has none: use `file`")
        if section.environment not in context.variables:
            raise ValueError(f"the environment variable {section.environment} is not set")
        return context.variables[section.environment].encode()
    return None


def grant(kind: ContentKind, entry: GrantEntry) -> Grant:
    """The file that a service is shown.

    Raises:
        ValueError: the target is not a path of a file.
    """
    target = entry.target or entry.source
    full = paths.normal(target if target.startswith("/") else f"{_FOLDER[kind]}/{target}")
    if ".." in full.split("/") or full == "/" or target.endswith("/"):
        raise ValueError(f"{target} is not the path of a file")
    return Grant(name=entry.source, target=full, uid=entry.uid, gid=entry.gid, mode=entry.mode)
