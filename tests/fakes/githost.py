"""Git servers for tests: a private sshd, and smart HTTP with TLS that asks for a token."""

import base64
import contextlib
import http.server
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from tests.fakes.ports import free_port

_BACKEND = "/usr/lib/git-core/git-http-backend"


@dataclass(frozen=True)
class SshHost:
    """A running sshd: where it is, a key that it takes, and its own."""

    port: int
    key: bytes
    known_hosts: str

    def url(self, path: Path) -> str:
        """The address of a repository in a folder."""
        return f"ssh://root@127.0.0.1:{self.port}{path}"


def make_key(path: Path) -> bytes:
    """A new ssh key in `path` and `path`.pub; the private part."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True, cwd=path.parent
    )
    return path.read_bytes()


@contextlib.contextmanager
def ssh_host(folder: Path) -> Iterator[SshHost]:
    """An sshd on loopback with keys of its own; it ends with the block, and with this process."""
    key = make_key(folder / "user")
    make_key(folder / "host")
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    port = free_port()
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    process = subprocess.Popen(
        [
            "setpriv", "--pdeathsig", "KILL", "/usr/sbin/sshd", "-D", "-q", "-f", "/dev/null",
            "-h", folder / "host", "-p", str(port), "-o", "ListenAddress=127.0.0.1",
            "-o", f"AuthorizedKeysFile={folder}/authorized", "-o", "StrictModes=no",
            "-o", "PidFile=none", "-o", "UsePAM=no", "-o", "PermitRootLogin=prohibit-password",
        ]
    )  # fmt: skip
    host_key = (folder / "host.pub").read_text().split()[:2]
    try:
        _wait_until_open(port)
        yield SshHost(port, key, f"[127.0.0.1]:{port} {' '.join(host_key)}\n")
    finally:
        process.kill()
        process.wait()


def _wait_until_open(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError("sshd does not come up")


@dataclass
class HttpsHost:
    """A running server of the bare repositories below a folder."""

    port: int
    authority: Path
    """The certificate to trust."""
    token: str
    refused: list[str] = field(default_factory=list)
    """Authorization of requests that were turned away; '' = none."""

    def url(self, name: str) -> str:
        """The address of a repository."""
        return f"https://127.0.0.1:{self.port}/{name}"


@contextlib.contextmanager
def https_host(folder: Path, repositories: Path, token: str) -> Iterator[HttpsHost]:
    """`git http-backend` behind TLS; only requests with the token get to it."""
    pair = folder / "https.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", pair, "-out", folder / "https.crt", "-days", "2",
            "-subj", "/CN=git", "-addext", "subjectAltName=IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    host = HttpsHost(0, folder / "https.crt", token)

    class Handler(_Handler):
        owner = host
        root = repositories

    server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "https.crt", pair)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    host.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    """CGI, as much of it as git needs."""

    owner: ClassVar[HttpsHost]
    root: ClassVar[Path]

    def do_GET(self) -> None:
        pair = f"x-access-token:{self.owner.token}".encode()
        given = self.headers.get("Authorization", "")
        if given != f"Basic {base64.b64encode(pair).decode()}":
            self.owner.refused.append(given)
            self._answer(401, [("WWW-Authenticate", 'Basic realm="git"')], b"")
            return
        self._serve()

    do_POST = do_GET

    def _serve(self) -> None:
        address = urlsplit(self.path)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": address.path,
            "QUERY_STRING": address.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        done = subprocess.run([_BACKEND], input=body, env=environment, capture_output=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        found = re.findall(r"^([A-Za-z-]+): (.*?)\r?$", head.decode(), re.MULTILINE)
        status = next((int(v.split()[0]) for n, v in found if n == "Status"), 200)
        self._answer(status, [(n, v) for n, v in found if n != "Status"], content)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is printed."""
