"""Starting container monitors (conmon) through the spawner, and reading what they say.

Called by the runtime. A monitor outlives the agent: it holds the container's output, writes the
log, and leaves the exit code in a file.
"""

import asyncio
import contextlib
import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stackd.aio import shortage
from stackd.errors import Rejected, Unavailable

CONMON = "/usr/bin/conmon"
RUNC = "/usr/sbin/runc"
_CREATED_WITHIN = 10.0
_SPAWNED_WITHIN = 5.0
_LARGEST_LINE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Monitor:
    """Where one container's monitor keeps its files. All folders exist already."""

    id: str
    bundle: Path
    exits: Path
    state: Path
    """runc's root."""
    log: Path
    log_limit: int
    """Bytes after which conmon itself cuts the log: only a brake for when nobody rotates."""
    tty: bool = False
    stdin: bool = False

    def argv(self) -> list[str]:
        """The command line; nothing secret is in it."""
        runc = ("--root", str(self.state), "--log", str(self.bundle / "runc.log"))
        arguments = [
            *(CONMON, "--api-version", "1", "-c", self.id, "-u", self.id, "-n", self.id),
            *("-r", RUNC, "-b", str(self.bundle), "-p", str(self.bundle / "pidfile")),
            *("-P", str(self.bundle / "conmon.pid"), "--exit-dir", str(self.exits)),
            *("--persist-dir", str(self.bundle), "--full-attach", "--log-level", "warning"),
            *("-l", f"k8s-file:{self.log}", "--log-size-max", str(self.log_limit)),
            *(part for item in runc for part in ("--runtime-arg", item)),
            *("--runtime-arg", "--log-format=json"),
        ]
        return [*arguments, *(["-t"] if self.tty else []), *(["-i"] if self.stdin else [])]


async def create(spawner: Path, monitor: Monitor) -> int:
    """Have the container created; returns the pid of its first process, which waits to start.

    Raises Rejected with runc's cause, Unavailable when the spawner does not answer, when monitor
    or runc was killed, or when the machine lacks something for now. The caller
    reaps what may be left: when it is cancelled too, so this ends only once the monitor has said
    what became of it; one that is on its way could not be found and would be left over.
    """
    work = asyncio.ensure_future(_create(spawner, monitor))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.gather(work, return_exceptions=True)
        raise


async def _create(spawner: Path, monitor: Monitor) -> int:
    stderr = monitor.bundle / "conmon.err"
    request = {"argv": monitor.argv(), "cwd": str(monitor.bundle), "stderr": str(stderr)}
    reader = await _spawn(spawner, request)
    try:
        async with asyncio.timeout(_CREATED_WITHIN):
            line = await _first_line(reader)
    except TimeoutError as error:
        raise Unavailable(
            f"The container was not created within {_CREATED_WITHIN:g}s.",
            "Look at the load and the kernel log of the node.",
        ) from error
    finally:
        os.close(reader)
    return _pid(line, stderr)


def _pid(line: bytes, stderr: Path) -> int:
    try:
        answer = json.loads(line)
        pid = int(answer["data"])
    except (ValueError, KeyError, TypeError):
        tail = stderr.read_text("utf-8", "replace").strip() if stderr.exists() else ""
        last = tail.splitlines()[-1][:300] if tail else "it ended without a word"
        reaction = Unavailable if not tail or shortage.passing(tail) else Rejected
        raise reaction(
            f"The container's monitor failed: {last}.", "Check that conmon and runc work."
        ) from None
    if pid <= 0:
        raise failure(str(answer.get("message", "")))
    return pid


def failure(message: str) -> Rejected | Unavailable:
    """What runc's message means: Unavailable when trying again may help."""
    torn = not message or _TORN.search(message) is not None
    reaction = Unavailable if torn or shortage.passing(message) else Rejected
    return reaction(*explain(message))


_TORN = re.compile(
    r"\bEOF$|reset by peer|broken pipe|signal: killed|closed synchronisation channel"
)
"""What runc's processes say when another of them was killed."""


_NOISE = re.compile(
    r"^(runc create failed|container_linux\.go:\d+|unable to start container process"
    r"|starting container process caused|error during container init|exec failed): "
)
_CAUSES = (
    (
        r'exec: "(.*)": executable file not found in \$PATH',
        "The command {0!r} is not in the image.",
    ),
    (r'exec: "(.*)": stat .*: no such file or directory', "The command {0!r} is not in the image."),
    (r'exec: "(.*)": permission denied', "The command {0!r} cannot be executed."),
    (r'exec: "(.*)": is a directory', "The command {0!r} is a folder."),
    (r"chdir to cwd \(\"(.*)\"\)", "The working folder {0!r} cannot be entered."),
    (r"unable to set memory limit to (\d+)", "The memory limit of {0} bytes is too small."),
)
_REMEDY = "Correct the service or its image."


def explain(message: str) -> tuple[str, str]:
    """runc's message as one sentence of cause and one of what to do."""
    text = message.strip()
    while (shorter := _NOISE.sub("", text)) != text:
        text = shorter
    for pattern, sentence in _CAUSES:
        if found := re.search(pattern, text):
            return sentence.format(*found.groups()), _REMEDY
    first = text.splitlines()[0][:500] if text else "runc gave no reason"
    return f"The container cannot be created: {first}.", _REMEDY


async def _spawn(spawner: Path, request: Mapping[str, object]) -> int:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as peer:
        peer.setblocking(False)
        try:
            async with asyncio.timeout(_SPAWNED_WITHIN):
                await loop.sock_connect(peer, str(spawner))
                await loop.sock_sendall(peer, json.dumps(request).encode())
                await _readable(peer.fileno())
            data, handles, _, _ = socket.recv_fds(peer, 64 * 1024, 1)
        except (OSError, TimeoutError) as error:
            raise Unavailable(
                f"The spawner of this node does not answer: {error or 'no answer in time'}.",
                "It is started again by itself; look at the node's log if this stays.",
            ) from error
    if not handles:
        why = data.decode()[:300] or "it ended meanwhile"
        raise Unavailable(f"The spawner could not start a monitor: {why}.")
    return handles[0]


async def _first_line(reader: int) -> bytes:
    os.set_blocking(reader, False)
    line = b""
    while b"\n" not in line and len(line) < _LARGEST_LINE:
        await _readable(reader)
        with contextlib.suppress(BlockingIOError):
            chunk = os.read(reader, 65536)
            if not chunk:
                break
            line += chunk
    return line


async def _readable(handle: int) -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def fire() -> None:
        if not done.done():
            done.set_result(None)

    loop.add_reader(handle, fire)
    try:
        await done
    finally:
        loop.remove_reader(handle)
