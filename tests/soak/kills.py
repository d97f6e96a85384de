"""What is killed at a random moment of a rollout, and what a killed Envoy may lose. Used by
`tests.soak.rollouts`."""

import asyncio
import contextlib
import re
import socket
import time
from dataclasses import dataclass

from examples.demo.load import Load, Lost
from tests.e2e import truth
from tests.e2e.cluster import Cluster, until

NEVER_REFUSED = 2.0
"""Seconds after which a port that has refused nothing is taken to have listened all the time."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Who is killed: `manager`, `agent` or `envoy`, the latter two of a node, and when in the
    rollout, in seconds from the command that begins it."""

    what: str
    node: str
    after: float

    def __str__(self) -> str:
        whose = "" if self.what == "manager" else f" of {self.node}"
        return f"{self.what}{whose} at {self.after:.2f} s"


@dataclass(frozen=True, slots=True)
class Outage:
    """A killed Envoy, seen from outside. Times are the event loop's."""

    node: str
    killed: float
    listens: float
    carried: int
    """Requests that had been sent to it and were not answered."""

    @property
    def gap(self) -> float:
        """Seconds until it listened again."""
        return self.listens - self.killed

    def carrying(self, lost: Lost) -> bool:
        """Whether the request was on its way when Envoy was killed."""
        return lost.begun < self.killed <= lost.ended

    def in_gap(self, lost: Lost) -> bool:
        """Whether the request began before Envoy listened again."""
        return self.killed <= lost.begun <= self.listens


@dataclass(frozen=True, slots=True)
class Ingress:
    """Of one node: who sends to it, and a port at which it listens all the time."""

    load: Load
    port: int


async def kill(cluster: Cluster, chosen: Kill, ingress: Ingress) -> Outage | None:
    """Kill it when its time has come; returns when it is back."""
    await asyncio.sleep(chosen.after)
    if chosen.what == "envoy":
        return await _envoy(cluster, chosen.node, ingress)
    name = "manager" if chosen.what == "manager" else f"{chosen.node}/agent"
    found = await asyncio.to_thread(until, lambda: truth.processes(cluster).get(name), name)
    assert found is not None
    found.kill()
    await asyncio.to_thread(until, lambda: not found.alive, f"{name} has ended")
    await asyncio.to_thread(until, lambda: name in truth.processes(cluster), f"{name} is back")
    return None


async def _envoy(cluster: Cluster, node: str, ingress: Ingress) -> Outage:
    def running() -> list[truth.Process]:
        """One; two in the middle of a handover."""
        live = truth.processes(cluster).items()
        return [found for name, found in live if re.fullmatch(rf"{node}/envoy-\d+", name)]

    meant = await asyncio.to_thread(until, running, f"an Envoy of {node}")
    carried, killed = ingress.load.carried, time.monotonic()
    for found in meant:
        found.kill()
    host = ingress.load.target.host
    listens = await asyncio.to_thread(_listens_again, host, ingress.port, killed)
    return Outage(node, killed, listens, carried)


def _listens_again(host: str, port: int, killed: float) -> float:
    """When a connection was accepted again."""
    refused = False
    while True:
        tried = time.monotonic()
        with contextlib.suppress(ConnectionError):
            socket.create_connection((host, port), timeout=5).close()
            if refused:
                return time.monotonic()
            if tried - killed > NEVER_REFUSED:
                return killed
            time.sleep(0.001)
            continue
        refused = True
        time.sleep(0.005)
