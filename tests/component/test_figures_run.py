"""`tests.soak.figures` on a cluster that is only played: answers of two versions on loopback, and a
command line that moves them, too late. It must go through every part and say so."""

import argparse
import asyncio
import json
import re
import threading
import time
from pathlib import Path

import pytest

from stackd.aio.ids import base36
from tests.e2e.cluster import Cluster, Ran
from tests.soak.figures import PARTS, Run, tell

LATE = 0.9
"""Seconds: more than an abort may take, and less than a move is looked at."""


class Played(Cluster):
    """Answers what `figures` asks; traffic moves `LATE` seconds after its command."""

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent"))
        self.share = 0.0
        """Of version 2."""
        self.steps: list[float] = []
        self.code = 0
        self.asked = 0
        self.events: list[dict[str, str]] = []
        self.serving: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def run(
        self, *arguments: str, stdin: str | None = None, env: dict[str, str] | None = None
    ) -> Ran:
        out: object = ""
        match arguments[0]:
            case "apply":
                self._applied(stdin or "")
            case "promote":
                share = self.steps.pop(0) if self.steps else 1.0
                self._moves(share)
                self.code = 3 if share < 1 else 0
                self._tell("completed")
            case "abort" | "rollback":
                self._tell("aborted" if arguments[0] == "abort" else "started")
                self._moves(0.0)
                self.code = 2
            case "wait":
                return Ran(self.code, "", "")
            case "events":
                return Ran(0, "\n".join(map(json.dumps, self.events)), "")
            case "ps":
                out = [{"id": "t1", "state": "running", "health": "healthy"}]
            case "status":
                out = {"rollout": {"promoted": [], "source": "a", "target": "b"}}
            case "rm":
                self._stop()
        return Ran(0, json.dumps(out), "")

    def _applied(self, text: str) -> None:
        if "stackd-demo:1" in text:
            self.share, self.code = 0.0, 0
            port = re.search(r"published: (\d+)", text)
            assert port
            ready = threading.Event()
            threading.Thread(target=lambda: asyncio.run(self._serve(int(port[1]), ready))).start()
            assert ready.wait(10)
            return
        self.steps = [float(found) / 100 for found in re.findall(r"set_weight: ([\d.]+)%", text)]
        self.share, self.code = self.steps.pop(0) if self.steps else 0.0, 3

    def _moves(self, share: float) -> None:
        threading.Timer(LATE, setattr, (self, "share", share)).start()

    def _tell(self, verb: str) -> None:
        made = base36(int(time.time() * 1000), 9) + "000"
        self.events.append({"id": made, "kind": f"rollout.{verb}"})

    async def _serve(self, port: int, ready: threading.Event) -> None:
        serving, ended = set[asyncio.Task[None] | None](), asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            serving.add(asyncio.current_task())
            while head := await self._request(reader):
                self.asked += 1
                new = int(self.asked * self.share) > int((self.asked - 1) * self.share)
                writer.write(
                    b"HTTP/1.1 200 OK\r\nX-Version: %d\r\nContent-Length: 0\r\n\r\n" % (1 + new)
                )
                if b"close" in head:
                    break
            writer.close()

        async with await asyncio.start_server(answer, "0.0.0.0", port):
            self.serving = asyncio.get_running_loop(), ended
            ready.set()
            await ended.wait()
            await asyncio.gather(*(task for task in serving if task))

    async def _request(self, reader: asyncio.StreamReader) -> bytes:
        """Its head; nothing when there is no more."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if length := re.search(rb"Content-Length: (\d+)", head):
                await reader.readexactly(int(length[1]))
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        return head

    def _stop(self) -> None:
        if self.serving:
            loop, ended = self.serving
            loop.call_soon_threadsafe(ended.set)
            self.serving = None


def test_traffic_that_moves_too_late_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = argparse.Namespace(
        only=PARTS, requests=400, weights=[5.0, 50.0], replicas=[1], times=1, rate=90.0
    )
    run = Run(Played(), {f"node{n}": f"127.0.0.{n}" for n in (1, 2, 3)}, wanted)
    run.all()
    assert not tell(run)
    printed = capsys.readouterr().out
    assert not run.problems, printed
    assert not any(tally.lost for tally in run.tallies), printed
    holds = [figure.good for figure in run.figures]
    lines = [figure.line for figure in run.figures]
    first, _, aborted, _, completed, _ = holds
    assert "blue-green: last request to blue" in lines[4], lines
    assert (first, aborted, completed) == (True, False, False), printed
