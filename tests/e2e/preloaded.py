"""Runs the command line in processes forked from one that has loaded it already.

Each command is a process of its own with its own environment, folder and standard streams, as a
shell would start it, without the half second of CPU time in which Python loads modules. A test
runs hundreds of commands, so this is much of what the tests take.
"""

import array
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

_MAX = 8 * 1024 * 1024


class Preloaded:
    """The process to fork from; started by the first command, ends with this process."""

    def __init__(self) -> None:
        self._path = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self, argv: list[str], folder: Path, env: dict[str, str]) -> "Command":
        """Start `stackd ARGV` with pipes for its standard streams."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(self._path)
        return Command(connection, {"argv": argv, "folder": str(folder), "env": env})

    def _start(self) -> None:
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", __name__],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._path = self._process.stdout.readline().rstrip("\n").replace("@", "\0", 1)
        assert self._path, "the command line cannot be loaded"


class Command:
    """One running command: `pid`, its ends of the pipes, and its exit code."""

    def __init__(self, connection: socket.socket, request: dict[str, Any]) -> None:
        pipes = [os.pipe() for _ in range(3)]
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        self.stdin, self.stdout, self.stderr = pipes[0][1], pipes[1][0], pipes[2][0]
        self._connection = connection
        body = json.dumps(request).encode()
        head = len(body).to_bytes(4, "big")
        rights = array.array("i", theirs)
        connection.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        connection.sendall(body)
        for end in theirs:
            os.close(end)
        self.pid = int.from_bytes(_exactly(connection, 4), "big")

    def code(self) -> int:
        """Its exit code, once it has ended; 128 + 9 when it was killed."""
        with self._connection:
            answer = self._connection.recv(1)
        return answer[0] if answer else 128 + signal.SIGKILL


def _exactly(connection: socket.socket, size: int) -> bytes:
    whole = b""
    while len(whole) < size:
        part = connection.recv(min(_MAX, size - len(whole)))
        if not part:
            raise EOFError("the other side has gone")
        whole += part
    return whole


def main() -> None:
    """Load, then fork for each connection, for ever."""
    package = importlib.import_module("stackd.cli")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"stackd.cli.{module.name}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("")  # the kernel chooses an abstract name
    listener.listen(64)
    print(listener.getsockname().decode().replace("\0", "@", 1), flush=True)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _become(connection)
        connection.close()


def _become(connection: socket.socket) -> None:
    """Never returns."""
    code = 70
    try:
        head, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(3 * 4))
        streams = array.array("i")
        streams.frombytes(ancillary[0][2])
        request = json.loads(_exactly(connection, int.from_bytes(head, "big")))
        for target, source in enumerate(streams):
            os.dup2(source, target)
            os.close(source)
        connection.sendall(os.getpid().to_bytes(4, "big"))
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["folder"])
        sys.argv = ["stackd", *request["argv"]]
        code = importlib.import_module("stackd.__main__").main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(bytes([code & 255]))
        os._exit(code & 255)


if __name__ == "__main__":
    main()
