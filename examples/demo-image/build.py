"""Builds the demo image from Debian packages into `.cache/demo-image.tar`, an OCI archive.

Called by `make demo-image`. Nothing is fetched but packages from the apt sources that this
machine is configured with. The archive holds `stackd-demo:1`, `:2` and `:3`, which share one
layer and differ by DEMO_VERSION only. It is built again only when one of its inputs changes.
Needs root and mmdebstrap.
"""

import contextlib
import fcntl
import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache"
ARCHIVE = CACHE / "demo-image.tar"
KEY = CACHE / "demo-image.key"
PACKAGES = ("python3-minimal", "dash", "coreutils", "base-files")
VERSIONS = ("1", "2", "3")
TIME = "2026-01-01T00:00:00Z"
LEFT_OUT = (
    "boot",
    "home",
    "srv",
    "media",
    "mnt",
    "opt",
    "usr/games",
    "usr/include",
    "usr/local",
    "usr/share",
    "var",
    "usr/lib/x86_64-linux-gnu/perl-base",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/aarch64-linux-gnu/perl-base",
    "usr/lib/aarch64-linux-gnu/gconv",
    "etc/apt",
    "usr/lib/dpkg",
    "usr/lib/systemd",
    "lib/systemd",
    "usr/bin/perl",
    "usr/bin/dpkg",
)
"""Folders and name beginnings of files that the server and a shell do not need."""
EMPTY_FOLDERS = ("proc", "sys", "dev", "run", "tmp", "var/tmp", "etc/demo")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
    "demo:x:1000:1000:demo:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\ndemo:x:1000:\nnogroup:x:65534:\n",
}
COMPILE = """
import os, py_compile, sys
for top in sorted(p for p in os.listdir('/usr/lib') if p.startswith('python3')):
    for folder, _, names in os.walk('/usr/lib/' + top):
        for name in names:
            if name.endswith('.py'):
                try:
                    py_compile.compile(os.path.join(folder, name), doraise=True)
                except py_compile.PyCompileError:
                    pass
"""
"""Packages are extracted, not installed, so the standard library is compiled here."""


def main() -> int:
    """Build unless the inputs are unchanged; only one build runs at a time."""
    CACHE.mkdir(exist_ok=True)
    key = inputs_key()
    if is_built(key):
        return 0
    with open(CACHE / "demo-image.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_built(key):
            return 0
        print("building the demo image", flush=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="demo-image-") as folder:
            root = Path(folder) / "root"
            bootstrap(root)
            layer, diff_id = write_layer(root, Path(folder) / "layer.tar.gz")
            built = Path(folder) / "image.tar"
            write_archive(built, layer, diff_id)
            os.replace(built, ARCHIVE)
        KEY.write_text(key)
    print(f"{ARCHIVE.relative_to(CACHE.parent)}: {ARCHIVE.stat().st_size / 1e6:.0f} MB")
    return 0


def inputs_key() -> str:
    """Changes when what goes into the image changes."""
    digest = hashlib.sha256()
    for path in (HERE / "server.py", HERE / "build.py"):
        digest.update(path.read_bytes())
    digest.update(platform.machine().encode())
    return digest.hexdigest()


def is_built(key: str) -> bool:
    return ARCHIVE.exists() and KEY.exists() and KEY.read_text() == key


def apt_sources() -> str:
    """The machine's own apt sources; one style only, since a file cannot mix both."""
    folder = Path("/etc/apt/sources.list.d")
    files = sorted(folder.glob("*.sources"))
    if not any("deb" in path.read_text() for path in files):
        files = [Path("/etc/apt/sources.list"), *sorted(folder.glob("*.list"))]
    texts = (path.read_text().strip() for path in files if path.exists())
    return "\n\n".join(text for text in texts if text) + "\n"


def apt_options() -> Iterator[str]:
    """How this machine reaches its sources: proxies and date checks."""
    shown = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    for line in shown.stdout.splitlines():
        name = line.split(" ", 1)[0]
        if name.startswith(("Acquire::http", "Acquire::https", "Acquire::Check-", "Dir::Etc::")):
            if not name.startswith("Dir::"):
                yield f"--aptopt={line.rstrip(';')}"


def bootstrap(root: Path) -> None:
    """Extract the packages into `root`, compile Python's library, add the server."""
    command = [
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=extract",
        "--format=directory",
        f"--include={','.join(PACKAGES)}",
        *apt_options(),
        "",
        str(root),
        "-",
    ]
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command, input=apt_sources(), text=True, env=env, stderr=subprocess.PIPE, check=False
    )
    if done.returncode:
        sys.exit(f"mmdebstrap failed:\n{done.stderr[-4000:]}")
    subprocess.run(["chroot", root, "/usr/bin/python3", "-c", COMPILE], env=env, check=True)
    for name in EMPTY_FOLDERS:
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "app").mkdir()
    shutil.copy(HERE / "server.py", root / "app" / "server.py")
    (root / "app" / "server.py").chmod(0o755)
    for name, text in FILES.items():
        (root / name).write_text(text)


def write_layer(root: Path, target: Path) -> tuple[Path, str]:
    """The layer as tar.gz with sorted entries; returns it and its diffID."""
    plain = target.with_suffix("")
    with tarfile.open(plain, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if not is_left_out(name):
                tar.add(path, arcname=name, recursive=False)
        for name in EMPTY_FOLDERS:
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            folder.mode = 0o1777 if name.endswith("tmp") else 0o755
            tar.addfile(folder)
    with open(plain, "rb") as source, open(target, "wb") as raw:
        with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed:
            shutil.copyfileobj(source, packed, 1 << 20)
    with open(plain, "rb") as source:
        return target, f"sha256:{hashlib.file_digest(source, 'sha256').hexdigest()}"


def is_left_out(name: str) -> bool:
    if name in EMPTY_FOLDERS:
        return True
    return any(name == part or name.startswith((part + "/", part)) for part in LEFT_OUT)


def write_archive(target: Path, layer: Path, diff_id: str) -> None:
    """An OCI archive with one manifest per version, all naming the same layer."""
    with open(layer, "rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    layer_entry = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": f"sha256:{digest}",
        "size": layer.stat().st_size,
    }
    with tarfile.open(target, "w") as tar:
        add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        tar.add(layer, arcname=f"blobs/sha256/{digest}")
        manifests = [write_version(tar, version, layer_entry, diff_id) for version in VERSIONS]
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
        }
        add(tar, "index.json", encode(index))


def write_version(
    tar: tarfile.TarFile, version: str, layer: dict[str, object], diff_id: str
) -> dict[str, object]:
    """Config and manifest of one version; returns its entry for the index."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = encode(
        {
            "created": TIME,
            "architecture": machine,
            "os": "linux",
            "config": {
                "Env": [
                    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    f"DEMO_VERSION={version}",
                ],
                "Cmd": ["/usr/bin/python3", "/app/server.py"],
                "WorkingDir": "/",
                "ExposedPorts": {"8080/tcp": {}},
                "StopSignal": "SIGTERM",
                "Labels": {"org.opencontainers.image.version": version},
            },
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": TIME, "created_by": "examples/demo-image/build.py"}],
        }
    )
    manifest = encode(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": entry("application/vnd.oci.image.config.v1+json", config),
            "layers": [layer],
        }
    )
    for blob in (config, manifest):
        add(tar, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
    return {
        **entry("application/vnd.oci.image.manifest.v1+json", manifest),
        "platform": {"architecture": machine, "os": "linux"},
        "annotations": {"org.opencontainers.image.ref.name": f"stackd-demo:{version}"},
    }


def entry(media_type: str, blob: bytes) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(blob)}


def encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    with contextlib.closing(io.BytesIO(content)) as source:
        tar.addfile(info, source)


if __name__ == "__main__":
    sys.exit(main())
