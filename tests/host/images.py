"""A small image for host tests, made from Debian's static busybox, without any network."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

BUSYBOX = Path("/bin/busybox")
_APPLETS = (
    "cat chmod chown cp date dd df echo env false grep hostname id kill ln ls mkdir mknod mount "
    "mv nc ps pwd rm sh sleep stat stty sync tail test touch true tty umount uname unshare wc wget "
    "seq yes head ulimit chroot httpd printf sysctl nslookup usleep tr"
)
_PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n"
_GROUP = "root:x:0:\napp:x:1000:\nextra:x:2000:app\n"


@dataclass(frozen=True)
class Layer:
    """A layer's blob and its digests."""

    blob: bytes
    digest: str
    diff_id: str


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    """A tar header; `fields` are attributes of TarInfo."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.mtime = 1_700_000_000
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def tar(entries: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """An uncompressed archive. The size in a header is that of its data unless it was set."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in entries:
            info.size = info.size or len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def layer(plain: bytes) -> Layer:
    """The gzip layer of an archive."""
    blob = gzip.compress(plain, compresslevel=1, mtime=0)
    return Layer(blob, sha256(blob), sha256(plain))


@cache
def busybox_layer() -> Layer:
    """A root with busybox, a few users and the usual folders."""
    folders = ("bin", "etc", "tmp", "root", "home", "home/app", "data", "run", "var", "var/lib")
    entries = [(entry(".", tarfile.DIRTYPE), b"")]
    entries += [(entry(name, tarfile.DIRTYPE), b"") for name in folders]
    entries.append((entry("bin/busybox", mode=0o755), BUSYBOX.read_bytes()))
    for name in _APPLETS.split():
        entries.append((entry(f"bin/{name}", tarfile.SYMTYPE, linkname="busybox"), b""))
    entries.append((entry("etc/passwd"), _PASSWD.encode()))
    entries.append((entry("etc/group"), _GROUP.encode()))
    entries.append((entry("data/first", uid=1000, gid=1000), b"from the image\n"))
    entries.append((entry("bin/noexec", mode=0o644), b"not executable\n"))
    entries.append((entry("bin/badelf", mode=0o755), b"\x7fELFgarbage"))
    return layer(tar(entries))


@dataclass(frozen=True)
class Built:
    """An image in a folder of blobs."""

    name: str
    """`name@sha256:…`."""
    digest: str
    layers: tuple[Layer, ...]


def build(blobs: Path, layers: Sequence[Layer], config: Mapping[str, Any] | None = None) -> Built:
    """Write the blobs of an OCI image into `blobs` as `<hex>`."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    document = json.dumps(
        {
            "os": "linux",
            "architecture": machine,
            "config": dict(config or {}),
            "rootfs": {"type": "layers", "diff_ids": [item.diff_id for item in layers]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": sha256(document),
                "size": len(document),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": item.digest,
                    "size": len(item.blob),
                }
                for item in layers
            ],
        }
    ).encode()
    blobs.mkdir(parents=True, exist_ok=True)
    for data in (document, manifest, *(item.blob for item in layers)):
        (blobs / sha256(data).removeprefix("sha256:")).write_bytes(data)
    return Built(f"test@{sha256(manifest)}", sha256(manifest), tuple(layers))
