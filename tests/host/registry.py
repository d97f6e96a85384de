"""A real image registry on loopback, for tests."""

import base64
import contextlib
import hashlib
import http.client
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.fakes.images import OCI_INDEX, OCI_MANIFEST, Layout
from tests.fakes.ports import free_port


class Registry:
    """One `docker-registry` process over plain HTTP."""

    def __init__(self, port: int, login: tuple[str, str] | None) -> None:
        self.host = f"127.0.0.1:{port}"
        self._port = port
        self._login = login

    def request(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream"
    ) -> tuple[int, Mapping[str, str]]:
        """One request; (status, headers)."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        headers = {"Content-Type": kind}
        if self._login:
            pair = ":".join(self._login).encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}

    def push(self, layout: Layout, item: Mapping[str, Any], repository: str, tag: str) -> str:
        """Put a layout's blobs and one manifest or index there; returns its digest."""
        for content in layout.files.values():
            self._push_blob(repository, content)
        for document in layout.files.values():
            kind = _media_type(document)
            if kind == OCI_MANIFEST:
                self._push_manifest(repository, _digest(document), document, kind)
        document = layout.files[f"blobs/sha256/{item['digest'].removeprefix('sha256:')}"]
        self._push_manifest(repository, tag, document, item["mediaType"])
        digest: str = item["digest"]
        return digest

    def _push_blob(self, repository: str, content: bytes) -> None:
        status, headers = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202
        place = headers["location"].split(self.host, 1)[-1]
        status, _ = self.request("PUT", f"{place}&digest={_digest(content)}", content)
        assert status == 201

    def _push_manifest(self, repository: str, name: str, document: bytes, kind: str) -> None:
        path = f"/v2/{repository}/manifests/{name}"
        status, _ = self.request("PUT", path, document, kind)
        assert status == 201


def _media_type(document: bytes) -> str:
    try:
        found: str = json.loads(document).get("mediaType", "")
    except (ValueError, AttributeError):
        return ""
    return found if found in (OCI_MANIFEST, OCI_INDEX) else ""


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@contextlib.contextmanager
def serve(folder: Path, login: tuple[str, str] | None = None) -> Iterator[Registry]:
    """Run a registry that keeps its data in `folder` and dies with this process."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    config = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if login:
        users = folder / "users"
        users.write_text(f"{login[0]}:{_bcrypt(login[1])}\n")
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(users)}}
    (folder / "config.yml").write_text(json.dumps(config))
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "docker-registry", "serve", folder / "config.yml"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    registry = Registry(port, login)
    try:
        _wait_until_up(registry, process)
        yield registry
    finally:
        process.kill()
        process.wait()


def _bcrypt(password: str) -> str:
    """The registry takes bcrypt only, and the C library makes it."""
    done = subprocess.run(
        ["perl", "-e", "print crypt($ARGV[0], '$2b$04$abcdefghijklmnopqrstuu')", password],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("$2b$")
    return done.stdout.replace("$2b$", "$2y$", 1)


def _wait_until_up(registry: Registry, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "the registry has ended"
        with contextlib.suppress(OSError):
            registry.request("GET", "/v2/")
            return
        time.sleep(0.02)
    raise AssertionError("the registry does not come up")
