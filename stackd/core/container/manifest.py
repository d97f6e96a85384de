"""What image manifests and configs mean: OCI and Docker schema 2, one platform of an index.

Called by `host.images` with bytes whose digest has been verified. Everything here was written by
strangers, so anything ambiguous is refused rather than guessed.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stackd.core.model.driver import ImageConfig
from stackd.errors import Rejected

LARGEST_DOCUMENT = 4 * 1024 * 1024
MOST_LAYERS = 127
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

_INDEXES = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
_LAYERS = re.compile(
    r"application/vnd\.(oci\.image\.layer\.v1\.tar(\+(gzip|zstd))?"
    r"|docker\.image\.rootfs\.diff\.tar(\.(gzip|zstd))?)"
)
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_NANOSECOND = 1e-9


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob by digest, as a manifest names it."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One platform's image: its config and its layers, lowest first."""

    config: Blob
    layers: tuple[Blob, ...]


def digest_of(image: str) -> str:
    """The digest of `name@sha256:…`. Raises Rejected for anything else."""
    digest = image.rpartition("@")[2]
    if not DIGEST.fullmatch(digest):
        raise Rejected(f"The image {image!r} is not named by a sha256 digest.", "Apply it again.")
    return digest


def parse(data: bytes, machine: str) -> Manifest | str:
    """A manifest, or for an index the digest of this machine's manifest. Raises Rejected."""
    document = _object(data, "manifest")
    if "layers" in document and "manifests" in document:
        raise _unsound("its manifest is an index and an image at once")
    if "manifests" in document:
        if document.get("mediaType", next(iter(_INDEXES))) not in _INDEXES:
            raise _unsound("its index has a wrong media type")
        return _choose(document["manifests"], machine)
    if document.get("mediaType") in _INDEXES or document.get("schemaVersion") != 2:
        raise _unsound("its manifest is of an unknown kind")
    layers = document.get("layers")
    if not isinstance(layers, list) or len(layers) > MOST_LAYERS:
        raise _unsound(f"it has no list of at most {MOST_LAYERS} layers")
    for layer in layers:
        if not isinstance(layer, dict) or not _LAYERS.fullmatch(str(layer.get("mediaType"))):
            raise _unsound("one of its layers is of an unknown kind")
        if layer.get("urls"):
            raise _unsound("one of its layers lies at a foreign address")
    return Manifest(_blob(document.get("config")), tuple(_blob(layer) for layer in layers))


def parse_config(data: bytes) -> tuple[tuple[str, ...], ImageConfig]:
    """The diffIDs, lowest first, and what the image says of its process. Raises Rejected."""
    document = _object(data, "config")
    rootfs = document.get("rootfs")
    ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(ids, list) or not all(DIGEST.fullmatch(str(item)) for item in ids):
        raise _unsound("its config has no list of diff ids")
    inner = document.get("config") or {}
    if not isinstance(inner, dict):
        raise _unsound("its config is not an object")
    health = inner.get("Healthcheck") or {}
    if not isinstance(health, dict):
        raise _unsound("its health check is not an object")
    volumes = inner.get("Volumes") or {}
    return tuple(ids), ImageConfig(
        entrypoint=_strings(inner, "Entrypoint"),
        command=_strings(inner, "Cmd"),
        environment=_strings(inner, "Env"),
        user=_string(inner, "User"),
        working_dir=_string(inner, "WorkingDir"),
        stop_signal=_string(inner, "StopSignal"),
        volumes=tuple(sorted(str(key) for key in volumes)) if isinstance(volumes, dict) else (),
        health_test=_test(_strings(health, "Test")),
        health_interval=_seconds(health, "Interval"),
        health_timeout=_seconds(health, "Timeout"),
        health_retries=int(_number(health, "Retries")),
        health_start_period=_seconds(health, "StartPeriod"),
    )


def _choose(entries: Any, machine: str) -> str:
    wanted = _MACHINES.get(machine, machine)
    if not isinstance(entries, list):
        raise _unsound("its index is not a list")
    for entry in entries:
        platform = entry.get("platform") if isinstance(entry, dict) else None
        if not isinstance(platform, dict):
            continue
        if (platform.get("os"), platform.get("architecture")) == ("linux", wanted):
            return _blob(entry).digest
    if len(entries) == 1 and isinstance(entries[0], dict) and "platform" not in entries[0]:
        return _blob(entries[0]).digest
    raise Rejected(
        f"The image has nothing for linux/{wanted}.", "Use an image built for this platform."
    )


def _blob(value: Any) -> Blob:
    digest = str(value.get("digest")) if isinstance(value, dict) else ""
    size = value.get("size") if isinstance(value, dict) else None
    if not DIGEST.fullmatch(digest) or not isinstance(size, int) or size < 0:
        raise _unsound("its manifest names a blob without a sound digest and size")
    return Blob(digest, size)


def _test(test: Sequence[str]) -> tuple[str, ...]:
    match list(test):
        case ["CMD", *argv]:
            return tuple(argv)
        case ["CMD-SHELL", text, *_]:
            return ("/bin/sh", "-c", text)
        case _:
            return ()


def _object(data: bytes, what: str) -> Mapping[str, Any]:
    if len(data) > LARGEST_DOCUMENT:
        raise _unsound(f"its {what} is larger than {LARGEST_DOCUMENT} bytes")
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _unsound(f"its {what} is not sound JSON") from error
    if not isinstance(document, dict):
        raise _unsound(f"its {what} is not an object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is there twice")
    return result


def _strings(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = document.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _unsound(f"its {key} is not a list of strings")
    return tuple(value)


def _string(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key) or ""
    if not isinstance(value, str):
        raise _unsound(f"its {key} is not a string")
    return value


def _number(document: Mapping[str, Any], key: str) -> float:
    value = document.get(key) or 0
    if not isinstance(value, int | float) or not 0 <= value < 2**63:
        raise _unsound(f"its {key} is not a number")
    return float(value)


def _seconds(document: Mapping[str, Any], key: str) -> float:
    return _number(document, key) * _NANOSECOND


def _unsound(cause: str) -> Rejected:
    return Rejected(f"The image cannot be used: {cause}.", "Build and push or load it again.")
