"""Rollouts of a service that is reached by connections only: through its published tcp port, and by
a task of its stack through its virtual address. Both at once, forward, rolled back, begun again
and aborted half-way: each revision gets its share of the new connections, an aborted one none any
more, and no connection is lost. Strategies under HTTP requests: `test_strategies_lossless`."""

import contextlib
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, free_port, until

pytestmark = pytest.mark.e2e

DIALLER = Path(__file__).with_name("dialler.py")
STACK = """
name: NAME
services:
  web:
    image: stackd-demo:VERSION
    ports: [{target: 8080, published: PORT}]
    healthcheck: {http: {path: /healthz, port: 8080}, interval: 1s}
    deploy:
      replicas: 1
      strategy: {STRATEGY, monitor: 500ms}
  client:
    image: stackd-demo:1
    entrypoint: [sleep, infinity]
    stop_grace_period: 0s
    deploy: {update_config: {monitor: 0s}}
"""
HELD = "0.4"
"""Seconds that held connections last."""
ENOUGH = 200
"""Connections by which a share is counted: with so many, neither none nor half is 20 %."""
SOME = 20


@dataclass(frozen=True, slots=True)
class Dialled:
    """What became of a connection; times are the machine's."""

    begun: float
    over: float
    kind: str
    said: str
    """The version that answered."""


@dataclass(frozen=True, slots=True)
class Dialler:
    """Dials in a process of its own, which writes down what became of the connections."""

    way: str
    folder: Path
    run: Callable[[], object]
    """Runs that process to its end."""

    def dialled(self, start: float = 0.0, end: float = math.inf) -> list[Dialled]:
        """The connections that were begun and over between these times."""
        text = (self.folder / "lines").read_text()
        rows = (line.split(" ", 3) for line in text[: text.rfind("\n") + 1].splitlines())
        found = (Dialled(float(begun), float(over), kind, said) for begun, over, kind, said in rows)
        return [d for d in found if start <= d.begun and d.over <= end]

    def said(self, start: float = 0.0, end: float = math.inf) -> Counter[str]:
        """Version -> how many of them it has answered."""
        return Counter(d.said for d in self.dialled(start, end))

    @contextlib.contextmanager
    def going(self) -> Iterator[None]:
        """Dial while the block runs."""
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(self.run)
            try:
                until(lambda: (self.folder / "lines").exists() or run.done(), "it dials")
                yield
            finally:
                (self.folder / "stop").touch()
            run.result()


@dataclass(frozen=True, slots=True)
class Moved:
    """A stack `name` whose service `web` is under test."""

    cluster: Cluster
    name: str
    port: int
    strategy: str

    def deploy(self, version: int) -> None:
        """Declare a version; it waits for a person, unless it is the first."""
        text = STACK.replace("NAME", self.name).replace("STRATEGY", self.strategy)
        text = text.replace("VERSION", str(version)).replace("PORT", str(self.port))
        ran = self.cluster.apply(text, "--wait")
        assert ran.code == (0 if version == 1 else 3), (ran.code, ran.out, ran.err)

    def verb(self, verb: str) -> None:
        """Ask for it, and wait until it is done."""
        self.cluster.must(verb, f"{self.name}/web", "--wait")

    def tasks(self) -> dict[str, str]:
        """Task -> its service."""
        return {row["id"]: row["service"] for row in self.cluster.ps(self.name)}

    def diallers(self, folder: Path) -> list[Dialler]:
        """From this machine to the port, and from the client task to the service's name."""
        source = DIALLER.read_text()
        outside = [sys.executable, "-c", source, "127.0.0.1", str(self.port), HELD, str(folder)]
        [client] = [task for task, service in self.tasks().items() if service == "client"]
        inside = ("python3", "-c", source, "web", "8080", HELD, "/tmp")
        return [
            Dialler("port", folder, lambda: subprocess.run(outside, check=True)),
            Dialler(
                "virtual address",
                Path("/proc", str(self.cluster.container_pid(client)), "root/tmp"),
                lambda: self.cluster.must("exec", client, "--", *inside),
            ),
        ]


def counted(diallers: list[Dialler], number: int) -> tuple[float, float]:
    """Wait until each has made so many connections: from when until when."""
    start = time.time()
    until(
        lambda: all(len(d.dialled(start)) >= number for d in diallers),
        f"{number} connections each",
    )
    return start, time.time()


@pytest.mark.parametrize(
    ("name", "strategy", "share"),
    [
        pytest.param(
            *("dialled-canary", "type: canary, steps: [{set_weight: 20%}, {pause: {}}]", 0.2),
            id="canary",
        ),
        pytest.param(
            *("dialled-blue", "type: blue-green, auto_promote: false", 0.0),
            id="blue-green",
            marks=pytest.mark.soak,
        ),
    ],
)
def test_connections_move_and_none_is_lost(
    cluster: Cluster, tmp_path: Path, name: str, strategy: str, share: float
) -> None:
    moved = Moved(cluster, name, free_port(), strategy)
    moved.deploy(1)
    stable, diallers = moved.tasks(), moved.diallers(tmp_path)
    with contextlib.ExitStack() as going:
        for dialler in diallers:
            going.enter_context(dialler.going())
        moved.deploy(2)
        waits = counted(diallers, ENOUGH if share else SOME)
        moved.verb("promote")
        second = counted(diallers, SOME)
        moved.verb("rollback")
        back = counted(diallers, SOME)
        moved.deploy(3)
        if share:
            counted(diallers, ENOUGH)
        moved.verb("abort")
        aborted = counted(diallers, SOME)
    for dialler in diallers:
        way, seen, waiting = dialler.way, dialler.said(), dialler.said(*waits)
        print(f"{way}: {seen}, half-way {waiting}")
        assert set(seen) == ({"1", "2", "3"} if share else {"1", "2"}), (way, seen)
        band = 4 * math.sqrt(share * (1 - share) / waiting.total())
        assert abs(waiting["2"] / waiting.total() - share) <= band, (way, waiting)
        assert set(dialler.said(*second)) == {"2"}, way
        assert not dialler.said(back[0])["2"], way
        assert set(dialler.said(aborted[0])) == {"1"}, way
    assert moved.tasks() == stable
    assert cluster.run("rm", name, "--wait").code == 0
