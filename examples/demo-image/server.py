#!/usr/bin/python3
"""The demo application: a small HTTP/1.1 server that can be asked to misbehave.

It uses only what Debian's `python3-minimal` ships, so that the image stays small. On SIGTERM it
stops accepting, lets running requests finish, closes idle connections and exits 0.

    /               {"version": ..., "host": ..., "requests": ...}; POST: also the body's length
    /healthz        200, or 503 with DEMO_NEVER_HEALTHY
    /slow?seconds=  answers after that time
    /env?name=      an environment variable, with DEMO_SHOW_ENV=1 only
    /file?path=     a file below /run/secrets or /etc/demo, with DEMO_SHOW_FILES=1 only

`server.py check` asks the running server for /healthz: exit code 0 or 1.
"""

import os
import selectors
import signal
import socket
import sys
import threading
import time

MAX_HEAD = 64 * 1024
MAX_BODY = 64 * 1024 * 1024
REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    413: "Content Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
SHOWN = ("/run/secrets/", "/etc/demo/")


class Settings:
    """What the environment asks for."""

    def __init__(self, env):
        self.version = env.get("DEMO_VERSION", "0")
        self.port = int(env.get("DEMO_PORT", "8080"))
        self.fail_share = float(env.get("DEMO_FAIL_SHARE", "0"))
        self.delay = float(env.get("DEMO_DELAY", "0"))
        self.crash_after = float(env.get("DEMO_CRASH_AFTER", "0"))
        self.never_healthy = env.get("DEMO_NEVER_HEALTHY", "") not in ("", "0")
        self.address = "127.0.0.1" if env.get("DEMO_LISTEN_LOCAL", "") not in ("", "0") else ""
        self.show_files = env.get("DEMO_SHOW_FILES", "") == "1"
        self.show_env = env.get("DEMO_SHOW_ENV", "") == "1"


class BadRequest(Exception):
    """The connection cannot go on after this answer."""

    def __init__(self, status):
        super().__init__(status)
        self.status = status


class Connection:
    """One client connection, served by one thread."""

    def __init__(self, server, sock):
        self.server = server
        self.sock = sock
        self.buffer = b""
        self.idle = True

    def run(self):
        try:
            while self.serve_one():
                pass
        except BadRequest as error:
            self.send(error.status, "bad request\n", close=True)
        except OSError:
            pass
        finally:
            self.sock.close()

    def serve_one(self):
        head = self.read_until(b"\r\n\r\n")
        if head is None:
            return False
        method, target, headers, old = parse_head(head)
        if headers.get("expect", "").lower() == "100-continue":
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body_length = self.read_body(headers)
        status, text = self.server.answer(method, target, body_length)
        wanted = headers.get("connection", "").lower()
        close = self.server.draining or wanted == "close" or (old and wanted != "keep-alive")
        self.send(status, text, close=close, head_only=method == "HEAD")
        self.idle = not self.buffer
        return not close and not (self.server.draining and not self.buffer)

    def read_until(self, mark):
        while mark not in self.buffer:
            if len(self.buffer) > MAX_HEAD:
                raise BadRequest(413)
            chunk = self.sock.recv(65536)
            if not chunk:
                return None
            self.idle = False
            self.buffer += chunk
        head, _, self.buffer = self.buffer.partition(mark)
        return head

    def read_body(self, headers):
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self.read_chunks()
        length = headers.get("content-length", "0")
        if not length.isdigit():
            raise BadRequest(400)
        self.skip(int(length))
        return int(length)

    def read_chunks(self):
        total = 0
        while True:
            line = self.read_until(b"\r\n")
            try:
                size = int((line or b"").split(b";")[0], 16)
            except ValueError:
                raise BadRequest(400) from None
            total += size
            if size == 0:
                while self.read_until(b"\r\n"):
                    pass
                return total
            self.skip(size + 2)

    def skip(self, count):
        if count > MAX_BODY:
            raise BadRequest(413)
        while len(self.buffer) < count:
            count -= len(self.buffer)
            self.buffer = self.sock.recv(65536)
            if not self.buffer:
                raise BadRequest(400)
        self.buffer = self.buffer[count:]

    def send(self, status, text, close=False, head_only=False):
        body = text.encode()
        kind = "application/json" if text.startswith("{") else "text/plain; charset=utf-8"
        head = (
            f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\nX-Version: {self.server.settings.version}\r\n"
            + ("Connection: close\r\n" if close else "")
            + "\r\n"
        )
        self.sock.sendall(head.encode() + (b"" if head_only else body))


def parse_head(head):
    """(method, target, headers in lower case, whether it is HTTP/1.0)."""
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequest(400)
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return parts[0], parts[1], headers, parts[2] == "HTTP/1.0"


def query_of(target):
    """The path and the query's values; %XX is decoded."""
    path, _, query = target.partition("?")
    pairs = (part.partition("=") for part in query.split("&"))
    return path, {name: unquote(value) for name, _, value in pairs}


def unquote(text):
    first, *rest = text.replace("+", " ").split("%")
    decoded = first.encode("latin-1", "replace")
    for part in rest:
        try:
            decoded += bytes([int(part[:2], 16)]) + part[2:].encode("latin-1", "replace")
        except ValueError:
            decoded += b"%" + part.encode("latin-1", "replace")
    return decoded.decode("utf-8", "replace")


class Server:
    """The listener, its connections, and what each path answers."""

    def __init__(self, settings):
        self.settings = settings
        self.host = socket.gethostname()
        self.draining = False
        self.requests = 0
        self.lock = threading.Lock()
        self.open = {}

    def answer(self, method, target, body_length):
        path, query = query_of(target)
        if path == "/healthz":
            return (503, "not healthy\n") if self.settings.never_healthy else (200, "ok\n")
        with self.lock:
            self.requests += 1
            number = self.requests
        time.sleep(self.settings.delay)
        share = self.settings.fail_share
        if int(number * share) > int((number - 1) * share):
            return 500, "failed as asked\n"
        if path == "/":
            body = f', "length": {body_length}' if method == "POST" else ""
            return 200, (
                f'{{"version": "{self.settings.version}", "host": "{self.host}", '
                f'"requests": {number}{body}}}\n'
            )
        if path == "/slow":
            return self.slow(query.get("seconds", "1"))
        if path == "/env" and self.settings.show_env:
            return 200, os.environ.get(query.get("name", ""), "") + "\n"
        if path == "/file" and self.settings.show_files:
            return self.show_file(query.get("path", ""))
        return 404, "not found\n"

    def slow(self, seconds):
        try:
            time.sleep(min(max(float(seconds), 0), 3600))
        except ValueError:
            return 400, "seconds must be a number\n"
        return 200, f'{{"version": "{self.settings.version}", "slept": "{seconds}"}}\n'

    def show_file(self, path):
        real = os.path.realpath(path)
        if not real.startswith(SHOWN):
            return 403, "only files below /run/secrets and /etc/demo are shown\n"
        try:
            with open(real, "rb") as file:
                return 200, file.read(MAX_HEAD).decode("utf-8", "replace")
        except OSError as error:
            return 404, f"{error.strerror}\n"

    def serve(self):
        """Accept until a stop signal, then drain."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.settings.address, self.settings.port))
        listener.listen(1024)
        listener.setblocking(False)
        say(f"demo {self.settings.version} listens on port {self.settings.port}")
        with selectors.DefaultSelector() as ready:
            ready.register(listener, selectors.EVENT_READ)
            ready.register(wake_read, selectors.EVENT_READ)
            while not any(key.fd == wake_read for key, _ in ready.select()):
                self.accept_all(listener)
        self.draining = True
        self.accept_all(listener)
        listener.close()
        self.drain()

    def accept_all(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setblocking(True)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, sock)
            thread = threading.Thread(target=self.run, args=(connection,))
            with self.lock:
                self.open[connection] = thread
            thread.start()

    def run(self, connection):
        connection.run()
        with self.lock:
            self.open.pop(connection, None)

    def drain(self):
        """What has arrived is answered: closing the reading side keeps what is in the buffer."""
        with self.lock:
            left = dict(self.open)
        say(f"draining {len(left)} connections")
        for connection in left:
            if connection.idle:
                try:
                    connection.sock.shutdown(socket.SHUT_RD)
                except OSError:
                    pass
        for thread in left.values():
            thread.join()
        say("stopped")


def say(text):
    print(text, flush=True)


def crash_later(seconds):
    time.sleep(seconds)
    say("crashing as asked")
    os._exit(1)


def check(port):
    """0 when the server on this machine says that it is healthy."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return 0 if b" 200 " in sock.recv(1024).split(b"\r\n")[0] else 1
    except OSError as error:
        say(f"{error}")
        return 1


def main():
    settings = Settings(os.environ)
    if sys.argv[1:] == ["check"]:
        return check(settings.port)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    if settings.crash_after:
        threading.Thread(target=crash_later, args=(settings.crash_after,), daemon=True).start()
    Server(settings).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
