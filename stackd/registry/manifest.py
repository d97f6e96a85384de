"""Manifests, indexes and image configs of both families (OCI and Docker schema 2), checked.

Pure. What comes in here was written by strangers: it is bounded and judged before it is used, and
a document that could be read in two ways is refused.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stackd.core.model.driver import ImageConfig
from stackd.errors import Refused
from stackd.registry.reference import check_digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
CONFIG_TYPES = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    }
)
LAYER_TYPES = frozenset(
    {
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
    }
)
MAX_DOCUMENT = 4 * 1024 * 1024
"""Bytes of one manifest, index or config."""
MAX_LAYERS = 127
MAX_IMAGE_BYTES = 20 * 1024**3
"""Packed bytes of all layers of one image."""
MAX_DEPTH = 32
_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob as a manifest names it. `platform` is `os/architecture[/variant]`, may be empty."""

    media_type: str
    digest: str
    size: int
    platform: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform; layers lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        return (self.config, *self.layers)


@dataclass(frozen=True, slots=True)
class Index:
    """Several manifests: one image for several platforms, or the images of a layout."""

    manifests: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """What an image config says. `layers` are diffIDs, lowest first."""

    architecture: str
    os: str
    layers: tuple[str, ...]
    image: ImageConfig


def parse(document: bytes) -> Manifest | Index:
    """Read a manifest or an index. Raises Refused when it is ambiguous or out of bounds."""
    data = _object(document)
    if data.get("schemaVersion") != 2:
        raise _bad("its schema version is not 2")
    media_type = data.get("mediaType", "")
    if not isinstance(media_type, str):
        raise _bad("its media type is not text")
    is_index = "manifests" in data
    if is_index and ("layers" in data or "config" in data):
        raise _bad("it has both layers and manifests")
    if media_type not in ("", *((OCI_INDEX, DOCKER_LIST) if is_index else _MANIFESTS)):
        raise _bad(f"its media type {media_type[:80]!r} does not fit its content")
    if is_index:
        return Index(tuple(_descriptor(item) for item in _list(data["manifests"])))
    return _manifest(data)


_MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)


def _manifest(data: Mapping[str, Any]) -> Manifest:
    config = _descriptor(data.get("config"))
    if config.media_type not in CONFIG_TYPES:
        raise _bad(f"it is not an image but {config.media_type[:80]!r}")
    layers = tuple(_descriptor(item) for item in _list(data.get("layers")))
    if len(layers) > MAX_LAYERS:
        raise _bad(f"it has {len(layers)} layers, more than {MAX_LAYERS}")
    for layer in layers:
        if layer.media_type not in LAYER_TYPES:
            raise _bad(f"a layer has the media type {layer.media_type[:80]!r}")
    if sum(layer.size for layer in layers) > MAX_IMAGE_BYTES:
        raise _bad(f"its layers have more than {MAX_IMAGE_BYTES >> 30} GiB")
    return Manifest(config, layers)


def pick(index: Index, architecture: str, os: str = "linux") -> Descriptor:
    """The manifest of one platform. Raises Refused, naming the platforms that there are."""
    found = [m for m in index.manifests if m.media_type in _MANIFESTS]
    wanted = f"{os}/{architecture}"
    for item in found:
        if item.platform == wanted:
            return item
    for item in found:
        if item.platform.startswith(f"{wanted}/"):
            return item
    have = ", ".join(
        sorted({m.platform for m in found if m.platform and "unknown" not in m.platform})
    )
    raise Refused(
        f"The image has no manifest for {wanted}.",
        f"It exists for: {have}." if have else "Its index names no platform.",
    )


def parse_config(document: bytes) -> Config:
    """Read an image config. Raises Refused."""
    data = _object(document)
    root = data.get("rootfs")
    if not isinstance(root, dict) or root.get("type") != "layers":
        raise _bad("its root file system is not made of layers")
    layers = tuple(_text(item, "a diffID") for item in _list(root.get("diff_ids")))
    for layer in layers:
        check_digest(layer)
    given = data.get("config") or {}
    if not isinstance(given, dict):
        raise _bad("its config is not an object")
    return Config(
        _text(data.get("architecture", ""), "the architecture"),
        _text(data.get("os", ""), "the os"),
        layers,
        _image_config(given),
    )


def _image_config(given: Mapping[str, Any]) -> ImageConfig:
    health = given.get("Healthcheck") or {}
    if not isinstance(health, dict):
        raise _bad("its health check is not an object")
    return ImageConfig(
        entrypoint=_texts(given, "Entrypoint"),
        command=_texts(given, "Cmd"),
        environment=_texts(given, "Env"),
        user=_text(given.get("User") or "", "the user"),
        working_dir=_text(given.get("WorkingDir") or "", "the working directory"),
        stop_signal=_text(given.get("StopSignal") or "", "the stop signal"),
        volumes=tuple(sorted(_object_keys(given.get("Volumes")))),
        health_test=_health_test(_texts(health, "Test")),
        health_interval=_seconds(health, "Interval"),
        health_timeout=_seconds(health, "Timeout"),
        health_retries=_integer(health.get("Retries") or 0),
        health_start_period=_seconds(health, "StartPeriod"),
    )


def _health_test(test: Sequence[str]) -> tuple[str, ...]:
    match test:
        case ["CMD", *argv]:
            return tuple(argv)
        case ["CMD-SHELL", command]:
            return ("/bin/sh", "-c", command)
        case [] | ["NONE"]:
            return ()
        case _:
            raise _bad("its health check begins with none of NONE, CMD, CMD-SHELL")


def _descriptor(item: object) -> Descriptor:
    if not isinstance(item, dict):
        raise _bad("a descriptor is not an object")
    if item.get("urls"):
        raise _bad("a blob is to be fetched from a foreign address")
    digest = _text(item.get("digest"), "a digest")
    check_digest(digest)
    size = _integer(item.get("size"))
    if size > MAX_IMAGE_BYTES:
        raise _bad("the size of a blob is out of bounds")
    annotations = item.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise _bad("the annotations are not an object")
    return Descriptor(
        _text(item.get("mediaType", ""), "a media type"),
        digest,
        size,
        _platform(item.get("platform")),
        {str(key): _text(value, "an annotation") for key, value in annotations.items()},
    )


def _platform(given: object) -> str:
    if not isinstance(given, dict):
        return ""
    parts = (given.get("os"), given.get("architecture"), given.get("variant"))
    return "/".join(_text(part, "a platform") for part in parts if part)


def _object(document: bytes) -> dict[str, Any]:
    if len(document) > MAX_DOCUMENT:
        raise _bad(f"it has more than {MAX_DOCUMENT >> 20} MiB")
    if document.count(b"[") + document.count(b"{") > 200_000:
        raise _bad("it has too many parts")
    try:
        data = json.loads(document, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _bad("it is not JSON that can be read in one way only") from error
    if not isinstance(data, dict):
        raise _bad("it is not an object")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _list(value: object) -> list[object]:
    if not isinstance(value, list) or len(value) > 10_000:
        raise _bad("a list is missing or too long")
    return value


def _object_keys(value: object) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, dict):
        raise _bad("its volumes are not an object")
    return [str(key) for key in value]


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise _bad(f"{what} is not text")
    return value


def _texts(given: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = given.get(key)
    return () if value is None else tuple(_text(item, key) for item in _list(value))


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _bad("a number is missing or out of bounds")
    return value


def _seconds(given: Mapping[str, Any], key: str) -> float:
    return _integer(given.get(key) or 0) / _NANO


def _bad(why: str) -> Refused:
    return Refused(f"The image cannot be used: {why}.", "Build it again, or ask its author.")
