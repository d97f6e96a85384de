"""A real cluster for tests, driven by the command line as a user would."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.e2e.preloaded import Command, Preloaded
from tests.fakes.ports import free_port as free_port

ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / ".cache" / "demo-image.tar"
TIMEOUT = 110.0
"""Seconds that a command may take."""
T = TypeVar("T")
_PRELOADED = Preloaded()


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Late(Exception):
    """A command that had to be killed."""


class Cluster:
    """An embedded cluster in a folder of its own; with `network` on the machine whose network
    namespace that is."""

    def __init__(self, data: Path, network: Path | None = None) -> None:
        self.data = data
        self._enter = ["nsenter", f"--net={network}"] if network else []

    def run(
        self, *arguments: str, stdin: str | None = None, env: dict[str, str] | None = None
    ) -> Ran:
        """Run `stackd …` to its end."""
        argv = ["--data", str(self.data), *arguments]
        whole = {**os.environ, **(env or {})}
        if arguments[0] not in ("up", "down", "doctor"):
            try:
                return _preloaded(argv, stdin or "", whole)
            except Late as error:
                raise AssertionError(f"{error}\n{self.trouble()}") from error
        done = subprocess.run(
            [*self._enter, sys.executable, "-m", "stackd", *argv],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            timeout=TIMEOUT,
            env=whole,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def trouble(self) -> str:
        """What there is, where manager and agents stand, and the ends of the logs: for a command
        that did not end."""
        for file in (self.run_folder / "manager.pid", *self.run_folder.glob("*/agent.pid")):
            with contextlib.suppress(OSError, ValueError):
                pid = int(file.read_text())
                if self.id.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGUSR2)
        time.sleep(1)
        told = []
        for words in (("ps", "--all"), ("events", "--tail", "50")):
            with contextlib.suppress(Late):
                told.append(_preloaded(["--data", str(self.data), *words], "", {**os.environ}).out)
        logs = sorted((self.data / "logs").glob("*.log"))
        return "\n".join((*told, *(f"{log.name}: {log.read_text()[-20_000:]}" for log in logs)))

    def must(self, *arguments: str, stdin: str | None = None) -> Ran:
        """Run and expect success."""
        ran = self.run(*arguments, stdin=stdin)
        assert ran.code == 0, f"stackd {' '.join(arguments)}: {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def up(self, *flags: str) -> None:
        """Start it and load the demo image."""
        self.must("up", "--detach", *flags)
        self.must("image", "load", "-i", str(IMAGE))

    def down(self) -> None:
        """Remove every trace of it."""
        if (self.data / "cluster.json").exists():
            done = self.must("down", "--purge")
            assert "by force" not in done.err, done.err
        shutil.rmtree(self.data, ignore_errors=True)

    @property
    def id(self) -> str:
        found = json.loads((self.data / "cluster.json").read_text())
        return str(found["id"])

    @property
    def run_folder(self) -> Path:
        return Path("/run/stackd", self.id)

    def pid(self, name: str) -> int:
        """The pid of one of its processes: manager, node1/agent, node1/spawner …"""
        return int((self.run_folder / f"{name}.pid").read_text())

    def apply(self, text: str, *flags: str, name: str = "") -> Ran:
        """Apply stack text from stdin."""
        named = ("--name", name) if name else ()
        return self.run("apply", "-f", "-", *named, *flags, stdin=text)

    def ps(self, name: str, *flags: str) -> list[dict[str, Any]]:
        """Rows of `ps`."""
        rows = self.must("ps", name, *flags, "-o", "json").json
        assert isinstance(rows, list)
        return rows

    def status(self, name: str) -> dict[str, Any]:
        """The document of `status`."""
        found = self.must("status", name, "-o", "json").json
        assert isinstance(found, dict)
        return found

    def container_pid(self, task: str) -> int:
        """The pid of a task's first process, read from its bundle."""
        [path] = self.run_folder.glob(f"*/b/{task}/pidfile")
        return int(path.read_text())


def _preloaded(argv: list[str], stdin: str, env: dict[str, str]) -> Ran:
    """Run a command that starts no process which outlives it."""
    command = _PRELOADED.start(argv, ROOT, env)
    late = threading.Timer(TIMEOUT, os.kill, (command.pid, signal.SIGKILL))
    late.start()
    with ThreadPoolExecutor(3) as pool:
        pool.submit(_feed, command, stdin)
        out, err = pool.submit(_all, command.stdout), pool.submit(_all, command.stderr)
    code = command.code()
    if not late.is_alive():
        said = f"{out.result()}{err.result()}"
        raise Late(f"stackd {' '.join(argv)}: not within {TIMEOUT:g}s; it said:\n{said}")
    late.cancel()
    return Ran(code, out.result(), err.result())


def _feed(command: Command, stdin: str) -> None:
    with contextlib.suppress(BrokenPipeError), open(command.stdin, "wb") as pipe:
        pipe.write(stdin.encode())


def _all(end: int) -> str:
    with open(end, encoding="utf-8") as pipe:
        return pipe.read()


def until(check: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """The first truthy answer of `check`, asked every 50 ms."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < end, f"{what}: not within {seconds:g}s"
        time.sleep(0.05)
