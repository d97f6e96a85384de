"""A forge's API on loopback: records the statuses of commits that it is told."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.fakes.ports import free_port


@dataclass
class ForgeHost:
    """What was told, in order; `answers` are given one by one, then 201."""

    port: int
    told: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    def statuses(self) -> list[tuple[str, str]]:
        """(first digit of the commit, state)."""
        return [(path.rpartition("/")[2][0], body["state"]) for path, body, _ in self.told]

    def said(self, words: str) -> bool:
        """Whether a description has these words."""
        return any(words in body["description"] for _, body, _ in self.told)


@contextlib.contextmanager
def forge_host() -> Iterator[ForgeHost]:
    """A running one; it ends with the block."""
    host = ForgeHost(free_port())

    class Handler(http.server.BaseHTTPRequestHandler):
        owner: ClassVar[ForgeHost] = host

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers = self.owner.answers.pop(0) if self.owner.answers else (201, {})
            token = self.headers.get("Authorization", "")
            if status < 300:
                self.owner.told.append((self.path, json.loads(body), token))
            self.send_response(status)
            for name, value in {"Content-Length": "2", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing is printed."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", host.port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
