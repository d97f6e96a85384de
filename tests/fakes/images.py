"""Small images made by hand, for tests that load, push and pull them."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
REF_NAME = "org.opencontainers.image.ref.name"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}


@dataclass
class Layout:
    """Files of an OCI layout in the making: name -> content."""

    files: dict[str, bytes] = field(default_factory=dict)
    manifests: list[dict[str, Any]] = field(default_factory=list)

    def blob(self, kind: str, content: bytes) -> dict[str, Any]:
        """Add a blob; its descriptor."""
        self.files[f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"] = content
        return descriptor(kind, content)

    def image(self, text: str, architecture: str = "amd64") -> dict[str, Any]:
        """Add a whole image with one layer that holds `text`; its descriptor."""
        plain = tar_of({"hello.txt": text.encode()})
        layer = self.blob(OCI_LAYER, gzip.compress(plain, mtime=0))
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(plain)]},
        }
        found = self.manifest([layer], self.blob(OCI_CONFIG, encode(config)))
        return {**found, "platform": {"os": "linux", "architecture": architecture}}

    def manifest(self, layers: list[dict[str, Any]], config: dict[str, Any]) -> dict[str, Any]:
        """Add a manifest; its descriptor."""
        data = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config,
            "layers": layers,
        }
        return self.blob(OCI_MANIFEST, encode(data))

    def index(self, *manifests: dict[str, Any]) -> dict[str, Any]:
        """Add an index of manifests; its descriptor."""
        data = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(manifests)}
        return self.blob(OCI_INDEX, encode(data))

    def name(self, item: Mapping[str, Any], name: str | None) -> str:
        """List an image in the layout, named or not; its digest."""
        annotations = {} if name is None else {"annotations": {REF_NAME: name}}
        self.manifests.append({**item, **annotations})
        digest: str = item["digest"]
        return digest

    def all_files(self) -> dict[str, bytes]:
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.manifests}
        return {
            "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
            "index.json": encode(index),
            **self.files,
        }

    def archive(self, path: Path) -> Path:
        """Write it as a tar."""
        path.write_bytes(tar_of(self.all_files()))
        return path

    def folder(self, path: Path) -> Path:
        """Write it as a folder."""
        for name, content in self.all_files().items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
        return path


def encode(value: object) -> bytes:
    return json.dumps(value).encode()


def tar_of(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()
