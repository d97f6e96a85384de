"""`volumes` and `tmpfs` of a service, and the top-level `volumes`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, model_validator

from stackd.core.model.container import Mount, MountKind
from stackd.core.model.stack import VolumeSpec
from stackd.core.spec import paths, scalars
from stackd.core.spec.context import Context, Origin
from stackd.core.spec.fields import (
    Absolute,
    FileMode,
    Flag,
    Labels,
    Name,
    Section,
    Size,
    Text,
    choice,
    fault,
    matching,
)
from stackd.core.spec.scalars import shown

SHORT = r"[^:]+:/[^:]*(?::[a-zA-Z,]+)?"
_OPTIONS = frozenset({"ro", "rw", "nocopy", "shared"})
_KERNEL = ("/proc", "/sys", "/dev")
_HOST = ("/proc", "/sys", "/dev", "/boot", "/run", "/var/run", "/var/lib/stackd")


class BindOptions(Section):
    """`bind` of a mount."""

    FOREIGN: ClassVar[Mapping[str, str]] = {
        "propagation": "mounts are private",
        "selinux": "",
        "create_host_path": "the path must exist on the node",
        "recursive": "",
    }


class VolumeOptions(Section):
    """`volume` of a mount."""

    FOREIGN: ClassVar[Mapping[str, str]] = {"labels": "give them to the top-level volume"}

    nocopy: Flag | None = None
    subpath: Text | None = None


class TmpfsOptions(Section):
    """`tmpfs` of a mount."""

    size: Size | None = None
    mode: FileMode | None = None


class MountEntry(Section):
    """One item of `volumes` of a service."""

    FOREIGN: ClassVar[Mapping[str, str]] = {"consistency": "leave it away", "image": ""}

    type: Annotated[str, choice("volume", "bind", "tmpfs", foreign=("npipe", "cluster", "image"))]
    source: Text | None = None
    target: Absolute
    read_only: Flag | None = None
    shared: Flag | None = None
    bind: BindOptions | None = None
    volume: VolumeOptions | None = None
    tmpfs: TmpfsOptions | None = None

    @model_validator(mode="after")
    def _source(self) -> "MountEntry":
        if self.type == "tmpfs" and self.source:
            raise fault("a tmpfs has no source: remove it")
        if self.type == "bind" and not self.source:
            raise fault("a bind mount needs a source: the path on the node")
        if self.type == "volume" and not self.source:
            raise fault("an anonymous volume is not supported by stackd: name it in `source`")
        return self


def from_short(data: Any) -> Any:
    """`SOURCE:TARGET[:ro,…]` as the long form; everything else unchanged."""
    if not isinstance(data, str):
        return data
    source, colon, rest = data.partition(":")
    if not colon:
        raise fault("an anonymous volume is not supported by stackd: write NAME:TARGET")
    target, _, words = rest.partition(":")
    options = [word for word in words.split(",") if word]
    for word in options:
        if word not in _OPTIONS:
            raise fault(f"the option {shown(word)} is not supported: use ro, rw, nocopy or shared")
    if not target.startswith("/"):
        raise fault(f"{shown(data)} is not a volume: write NAME:/path or /host/path:/path")
    kind = "bind" if source.startswith((".", "/", "~")) else "volume"
    long: dict[str, Any] = {"type": kind, "source": source, "target": target}
    if "ro" in options:
        long["read_only"] = "true"
    if "shared" in options:
        long["shared"] = "true"
    if "nocopy" in options and kind == "volume":
        long["volume"] = {"nocopy": "true"}
    return long


MountItem = Annotated[
    MountEntry,
    BeforeValidator(
        from_short,
        json_schema_input_type=Annotated[str, matching(SHORT, "a volume")] | MountEntry,
    ),
]


class VolumeSection(Section):
    """One top-level volume."""

    PLANNED: ClassVar[frozenset[str]] = frozenset({"driver_opts"})

    name: Name | None = None
    driver: Annotated[str, choice("local")] | None = None
    external: Flag | None = None
    shared: Flag | None = None
    labels: Labels | None = None


@dataclass(frozen=True)
class Volumes:
    """What the stack declares, as mounts need it."""

    declared: Mapping[str, VolumeSpec]
    context: Context


def build(stack: str, key: str, section: VolumeSection | None) -> VolumeSpec:
    """A top-level volume with its defaults."""
    section = section or VolumeSection()
    default = key if section.external else f"{stack}_{key}"
    return VolumeSpec(
        name=section.name or default,
        external=bool(section.external),
        shared=bool(section.shared),
        labels={key: value or "" for key, value in (section.labels or {}).items()},
    )


def _under(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)


def check_target(target: str) -> str:
    """A normal absolute path where a mount may stand in the container.

    Raises:
        ValueError: it hides the root or the kernel's file systems, or contains `..`.
    """
    normal = paths.normal(target)
    if ".." in normal.split("/") or normal == "/" or _under(normal, _KERNEL):
        raise ValueError(f"nothing can be mounted at {shown(target)}: choose another target")
    return normal


def _bind_source(source: str, context: Context) -> str:
    if source.startswith("~"):
        raise ValueError(f"{source} starts with `~`, which is not expanded: write the path out")
    if source.startswith("/"):
        full = paths.join("/", source)
    elif context.origin is Origin.GIT or not context.folder:
        raise ValueError(f"{source} is relative: in Git a bind mount names a path on the node")
    else:
        full = paths.join(context.folder, source)
    if full == "/" or _under(full, _HOST):
        raise ValueError(f"{full} of the node cannot be mounted: it would open the node itself")
    return full


def mount(entry: MountEntry, volumes: Volumes) -> Mount:
    """The mount that one item asks for.

    Raises:
        ValueError: the volume is not declared, or the source or target is not allowed.
    """
    target = check_target(entry.target)
    source = entry.source or ""
    read_only, shared = bool(entry.read_only), bool(entry.shared)
    if entry.type == "tmpfs":
        options = entry.tmpfs or TmpfsOptions()
        mode = 0o1777 if options.mode is None else options.mode
        return Mount(
            kind=MountKind.TMPFS,
            target=target,
            read_only=read_only,
            size=options.size or 0,
            mode=mode,
        )
    if entry.type == "bind":
        found = _bind_source(source, volumes.context)
        return Mount(
            kind=MountKind.BIND, target=target, source=found, read_only=read_only, shared=shared
        )
    return _named(entry, target, volumes)


def _named(entry: MountEntry, target: str, volumes: Volumes) -> Mount:
    source = entry.source or ""
    declared = volumes.declared.get(source)
    if declared is None:
        raise ValueError(f"the volume {shown(source)} is not declared: add it under `volumes:`")
    options = entry.volume or VolumeOptions()
    subpath = options.subpath or ""
    if subpath.startswith("/") or ".." in subpath.split("/"):
        raise ValueError(f"the subpath {shown(subpath)} leaves the volume")
    return Mount(
        kind=MountKind.VOLUME,
        target=target,
        source=source,
        read_only=bool(entry.read_only),
        shared=bool(entry.shared) or declared.shared,
        nocopy=bool(options.nocopy),
        subpath=subpath,
    )


_TMPFS = re.compile(r"(?P<target>/[^:]*)(?::(?P<options>.*))?")


def tmpfs(text: str) -> Mount:
    """The mount of one item of `tmpfs`: `/path[:size=64m,mode=1777]`.

    Raises:
        ValueError: not of this form.
    """
    found = _TMPFS.fullmatch(text)
    if found is None:
        raise ValueError(f"{shown(text)} is not a tmpfs: write it like /tmp or /tmp:size=64m")
    options: dict[str, str] = {}
    for word in (found["options"] or "").split(","):
        key, _, value = word.partition("=")
        if key not in ("size", "mode", "rw", ""):
            raise ValueError(f"the tmpfs option {shown(key)} is not supported: use size or mode")
        if key in ("size", "mode"):
            options[key] = value
    return Mount(
        kind=MountKind.TMPFS,
        target=check_target(found["target"]),
        size=scalars.size(options["size"]) if "size" in options else 0,
        mode=scalars.mode(options["mode"]) if "mode" in options else 0o1777,
    )
