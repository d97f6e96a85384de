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
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, Ran, free_port

pytestmark = pytest.mark.e2e

DIALLER = Path(__file__).with_name("dialler.py")
STACK = """
name: dialled
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
ENOUGH = 80
"""Connections by which a share is counted: with so many, neither none nor half is 20 %."""


@dataclass(frozen=True, slots=True)
class Dialled:
    """What became of a connection; times are the machine's."""

    begun: float
    over: float
    kind: str
    said: str
    """The version that answered."""


@dataclass(frozen=True, slots=True)
class Dials:
    """Connections from this machine to the port, and from the client task to the service's name."""

    cluster: Cluster
    client: str
    port: int
    stop: Path

    @contextlib.contextmanager
    def going(self) -> Iterator[dict[str, list[Dialled]]]:
        """Dial while the block runs; what became of the connections is there afterwards."""
        found: dict[str, list[Dialled]] = {}
        with ThreadPoolExecutor(2) as pool:
            port, vip = pool.submit(self._outside), pool.submit(self._inside)
            try:
                time.sleep(0.5)
                yield found
            finally:
                self.stop.touch()
                self.cluster.run("exec", self.client, "--", "touch", f"/tmp/{self.stop.name}")
            found.update(port=parsed(port.result()), vip=parsed(vip.result()))

    def _outside(self) -> str:
        argv = [sys.executable, str(DIALLER), "127.0.0.1", str(self.port), HELD, str(self.stop)]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def _inside(self) -> str:
        argv = ("python3", "-c", DIALLER.read_text(), "web", "8080", HELD, f"/tmp/{self.stop.name}")
        return self.cluster.must("exec", self.client, "--", *argv).out


def parsed(text: str) -> list[Dialled]:
    """The lines of a dialler, by when connections were begun."""
    rows = (line.split(" ", 3) for line in text.splitlines())
    found = [Dialled(float(begun), float(over), kind, said) for begun, over, kind, said in rows]
    return sorted(found, key=lambda row: row.begun)


@dataclass(frozen=True, slots=True)
class Moved:
    """The service under test."""

    cluster: Cluster
    port: int
    strategy: str

    def deploy(self, version: int) -> Ran:
        """Declare a version; it waits for a person, unless it is the first."""
        text = STACK.replace("VERSION", str(version)).replace("PORT", str(self.port))
        ran = self.cluster.apply(text.replace("STRATEGY", self.strategy), "--wait")
        assert ran.code == (0 if version == 1 else 3), (ran.code, ran.out, ran.err)
        return ran

    def verb(self, verb: str) -> None:
        """Ask for it, and wait until it is done."""
        self.cluster.must(verb, "dialled/web", "--wait")


def between(found: Sequence[Dialled], start: float, end: float = math.inf) -> Counter[str]:
    """Version -> connections that were begun and over between these times."""
    return Counter(d.said for d in found if start <= d.begun and d.over <= end)


def counted(seconds: float) -> tuple[float, float]:
    """Wait for connections to count: from when until when."""
    start = time.time()
    time.sleep(seconds)
    return start, time.time()


@pytest.mark.parametrize(
    ("strategy", "share"),
    [
        ("type: canary, steps: [{set_weight: 20%}, {pause: {}}]", 0.2),
        ("type: blue-green, auto_promote: false", 0.0),
    ],
    ids=["canary", "blue-green"],
)
def test_connections_move_and_none_is_lost(
    cluster: Cluster, tmp_path: Path, strategy: str, share: float
) -> None:
    moved = Moved(cluster, free_port(), strategy)
    moved.deploy(1)
    [client] = [row["id"] for row in cluster.ps("dialled") if row["service"] == "client"]
    stable = {row["id"] for row in cluster.ps("dialled")}
    with Dials(cluster, client, moved.port, tmp_path / "stop").going() as found:
        moved.deploy(2)
        waits = counted(2 if share else 1)
        moved.verb("promote")
        second = counted(0.5)
        moved.verb("rollback")
        first = time.time()
        moved.deploy(3)
        again = time.time()
        moved.verb("abort")
        aborted = counted(0.5)
    for way, dialled in found.items():
        seen = Counter(d.said for d in dialled)
        print(f"{way}: {seen}, waits {between(dialled, *waits)}")
        assert set(seen) == {"1", "2", "3"} if share else {"1", "2"}, (way, seen)
        part = between([d for d in dialled if d.kind == "short"], *waits)
        assert part.total() >= ENOUGH, (way, part)
        band = 4 * math.sqrt(share * (1 - share) / part.total())
        assert abs(part["2"] / part.total() - share) <= band, (way, part)
        assert set(between(dialled, *second)) == {"2"}, way
        assert not between(dialled, first)["2"], way
        assert set(between(dialled, *aborted)) == {"1"}, way
        held = [d for d in dialled if d.kind == "held" and d.begun < again < d.over]
        assert held, way
    assert {row["id"] for row in cluster.ps("dialled")} == stable
    assert cluster.run("rm", "dialled", "--wait").code == 0
