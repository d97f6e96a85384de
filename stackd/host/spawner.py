"""The spawner: a small process that starts container monitors for the agent.

Run as `stackd spawner <cluster> <node>`. It sits in a control group of its own, so that whatever
kills the agent's group leaves the monitors (which inherit the spawner's) alone. It keeps no state:
the agent and the spawner may each be restarted at any time. Almost nothing is imported here, to
stay at a few MiB.

One message per connection on a SOCK_SEQPACKET socket: a JSON object with `argv`, `cwd` and the
path `stderr`. The answer is `{"ok": true}` with the read end of the monitor's sync pipe attached,
or `{"error": TEXT}`.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from stackd.aio.layout import ClusterLayout, NodeLayout
from stackd.host import cgroups, noderun

_SYNC = 3
"""The number of the sync pipe in the monitor; conmon learns it from _OCI_SYNCPIPE."""
_LARGEST = 64 * 1024
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PATIENCE = 5.0
_PAUSE = 0.1


def main(argv: Sequence[str]) -> int:
    """`argv` is [cluster id, node name]. Returns when asked to stop by SIGTERM or SIGINT."""
    cluster, node = argv
    layout = ClusterLayout(Path("/"), cluster).node(node)
    os.umask(0o022)  # inherited by runc, which makes mount points for users other than root
    noderun.prepare(layout)
    cgroups.enter(cgroups.discover(), layout.monitor_cgroup)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps what conmon's fork leaves
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    with contextlib.suppress(KeyboardInterrupt):
        _serve(layout)
    return 0


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _serve(layout: NodeLayout) -> None:
    path = layout.spawner_socket
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as server:
        server.bind(str(fresh))
        os.chmod(fresh, 0o600)
        server.listen(128)
        fresh.rename(path)
        while True:
            try:
                peer, _ = server.accept()
            except OSError:  # no descriptor left: whoever asks waits, and asks again
                time.sleep(_PAUSE)
                continue
            with peer, contextlib.suppress(OSError):
                peer.settimeout(_PATIENCE)
                _answer(peer)


def _answer(peer: socket.socket) -> None:
    data = peer.recv(_LARGEST)
    try:
        request = json.loads(data)
        os.chdir(str(request["cwd"]))  # conmon leaves files where it starts
        reader = _spawn([str(part) for part in request["argv"]], str(request["stderr"]))
    except (ValueError, KeyError, TypeError, OSError) as error:
        peer.send(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
        return
    finally:
        os.chdir("/")
    try:
        socket.send_fds(peer, [b'{"ok": true}'], [reader])
    finally:
        os.close(reader)


def _spawn(argv: list[str], stderr: str) -> int:
    """Start a monitor with its sync pipe at a fixed number; return the pipe's read end."""
    reader, writer = os.pipe()
    try:
        os.posix_spawn(
            argv[0],
            argv,
            {"PATH": _PATH, "_OCI_SYNCPIPE": str(_SYNC)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, writer, _SYNC),
            ],
            setsigdef=[signal.SIGCHLD, signal.SIGPIPE],
        )
    except OSError:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return reader


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
