"""`python -m tests.soak.figures`: how exact and how fast is traffic moved between revisions?

On one cluster of three nodes, through the ingress of every node: the share of a canary at each
weight, with one replica and with many; how far apart nodes switch from blue to green, and whether
blue answers afterwards; how long after an abort the bad revision gets requests; how long a way back
to a warm revision takes. Prints a table; exits 1 when a bound is missed or a request was lost.
Needs root, and a machine that does nothing else.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from examples.demo.load import Load, Mix, Tally, Target
from stackd.aio.ids import made_at
from tests.e2e.cluster import Cluster, free_port
from tests.e2e.moving import Moves, Service, loaded
from tests.e2e.places import place, purge_abandoned
from tests.e2e.stacks import Web
from tests.soak import measured
from tests.soak.measured import Figure, Move, Weight

PARTS = ("weights", "switch", "abort", "rollback")
NODES = 3
WEIGHTS = [0.01, 1.0, 5.0, 50.0, 99.0]
KEPT = Mix(new=0, post=0, slow=0)
AT_ONCE = 8
"""Requests at once, and so kept connections, to each node while a weight is measured."""
FAST = 1e6
"""More requests a second than can be answered: the next is sent when one is."""
TASKS = 3
"""Of a service whose traffic is moved."""
BEFORE, AFTER = 0.3, 1.0
"""Seconds of requests that belong to a move: before its command, and after its end."""
EVENTS = {"promote": "completed", "abort": "aborted", "rollback": "started"}
"""What is recorded of a command: that traffic has moved, or that it is to move."""
BLUE_GREEN = Moves("type: blue-green, auto_promote: false", waits=1)
CANARY = Moves("type: canary, steps: [{set_weight: 50%}, {pause: {}}]", waits=1)


@dataclass(slots=True)
class Run:
    """The cluster, and what has been seen."""

    cluster: Cluster
    hosts: dict[str, str]
    """Node -> the address of its ingress."""
    wanted: argparse.Namespace
    figures: list[Figure] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    """Of all requests."""
    problems: list[str] = field(default_factory=list)

    def all(self) -> None:
        """Every part that is wanted, each with services of its own."""
        if "weights" in self.wanted.only:
            for replicas in self.wanted.replicas:
                self._part(f"weights-{replicas}", partial(self._weights, replicas))
        if "abort" in self.wanted.only:
            self._part("abort", lambda: asyncio.run(self._aborts()))
        if {"switch", "rollback"} & set(self.wanted.only):
            self._part("switch", lambda: asyncio.run(self._switches()))

    def _part(self, name: str, measure: Callable[[], None]) -> None:
        """What does not go as it must ends this part only."""
        try:
            measure()
        except* AssertionError as group:
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            self.problems.append(f"{name}: {error}")
        self.cluster.run("rm", name, "--wait")

    def _service(self, name: str, replicas: int, moves: Moves) -> Service:
        """Its version 1."""
        service = Service(self.cluster, Web(name, free_port(), replicas=replicas), moves)
        service.deploy(1)
        service.ends(0)
        return service

    def _add(self, *figures: Figure) -> None:
        self.figures += figures
        for figure in figures:
            print(f"{figure.line}: {figure.measured}", flush=True)

    def _weights(self, replicas: int) -> None:
        """A canary with a pause at each weight."""
        steps = ", ".join(f"{{set_weight: {w:g}%}}, {{pause: {{}}}}" for w in self.wanted.weights)
        text = f"type: canary, progress_deadline: 5m, steps: [{steps}]"
        service = self._service(f"weights-{replicas}", replicas, Moves(text, len(WEIGHTS)))
        service.deploy(2)
        for number, percent in enumerate(self.wanted.weights):
            if number:
                service.promote()
            service.ends(3)
            self._add(asyncio.run(self._weight(service, percent)).figure)

    async def _weight(self, service: Service, percent: float) -> Weight:
        """As many requests as are wanted, as fast as they are answered."""
        loads = {n: Load(Target(h, service.web.port), FAST, KEPT) for n, h in self.hosts.items()}
        tallies = {node: load.tally for node, load in loads.items()}
        self.tallies += tallies.values()
        began = time.monotonic()
        async with contextlib.AsyncExitStack() as stack:
            for load in loads.values():
                load.most = AT_ONCE
                await stack.enter_async_context(load.running())
            left = self.wanted.requests
            while left > 0:
                await asyncio.sleep(0.005)
                left = self.wanted.requests - sum(tally.sent for tally in tallies.values())
            for load in loads.values():
                load.stop()
        return Weight(percent, service.web.replicas, tallies, "2", time.monotonic() - began)

    async def _aborts(self) -> None:
        """A canary at half of the requests, aborted again and again."""
        service = await asyncio.to_thread(self._service, "abort", TASKS, CANARY)
        moves = []
        async with self._watched(service) as watch:
            for number in range(self.wanted.times):
                await asyncio.to_thread(_half_way, service, number)
                moves.append(await watch.moves("2", "abort", 2))
        self._add(*measured.aborted(moves))

    async def _switches(self) -> None:
        """From blue to green, and back while blue is warm, again and again."""
        service = await asyncio.to_thread(self._service, "switch", TASKS, BLUE_GREEN)
        blue = await asyncio.to_thread(service.tasks)
        there, back = [], []
        async with self._watched(service) as watch:
            for number in range(self.wanted.times):
                await asyncio.to_thread(_half_way, service, number)
                there.append(await watch.moves("1", "promote", 0))
                back.append(await watch.moves("2", "rollback", 2))
                await asyncio.to_thread(service.first, blue)
        if "switch" in self.wanted.only:
            self._add(*measured.switched(there))
        if "rollback" in self.wanted.only:
            self._add(*measured.rolled_back(back))

    @contextlib.asynccontextmanager
    async def _watched(self, service: Service) -> AsyncIterator["Watch"]:
        """Requests of all kinds to every node while the block runs; afterwards all are counted."""
        hosts = list(self.hosts.values())
        async with loaded(hosts, service.web.port, self.wanted.rate) as loads:
            self.tallies += [load.tally for load in loads]
            yield Watch(service, dict(zip(self.hosts, loads, strict=True)), self.tallies)


@dataclass(frozen=True, slots=True)
class Watch:
    """A service under load."""

    service: Service
    loads: dict[str, Load]
    tallies: list[Tally]

    def turn(self) -> dict[str, Tally]:
        """Count apart what is sent from now on."""
        found = {node: load.turn() for node, load in self.loads.items()}
        self.tallies.extend(found.values())
        return found

    async def moves(self, left: str, verb: str, code: int) -> Move:
        """All traffic leaves this version because of a command; the wait ends with `code`.
        Requests under way are in the tallies only when the load has ended."""
        tallies = self.turn()
        await asyncio.sleep(BEFORE)
        began = time.monotonic()
        await asyncio.to_thread(self.service.cluster.must, verb, self.service.name)
        await asyncio.to_thread(self.service.ends, code)
        await asyncio.sleep(AFTER)
        self.turn()
        recorded = await asyncio.to_thread(_recorded, self.service, EVENTS[verb], began)
        return Move(began, recorded, tallies, left)


def _half_way(service: Service, number: int) -> None:
    """A new revision of version 2 is where somebody has to decide."""
    service.deploy(2, number)
    service.half_way()


def _recorded(service: Service, kind: str, since: float) -> float:
    """When the first such event since then was recorded, by this process's monotonic clock."""
    ahead = time.time() - time.monotonic()
    lines = service.cluster.must("events", service.name, "-o", "json").out.splitlines()
    events = [json.loads(line) for line in lines]
    times = [made_at(event["id"]) - ahead for event in events if event["kind"] == f"rollout.{kind}"]
    found = [moment for moment in times if moment >= since]
    assert found, f"no rollout.{kind} of {service.name} since the command"
    return min(found)


def tell(run: Run) -> bool:
    """Print the table; whether everything holds."""
    lost = [each for tally in run.tallies for each in tally.lost]
    told = [*(f"lost: {each}" for each in lost[:10]), *(f"PROBLEM: {p}" for p in run.problems)]
    print("\n".join(["", *measured.table(run.figures), *told]))
    print(
        f"\n{sum(tally.sent for tally in run.tallies):,} requests in all, {len(lost)} lost; "
        f"{os.cpu_count()} cores, load {os.getloadavg()[2]:.1f}",
        flush=True,
    )
    return bool(run.figures) and not (lost or run.problems) and all(f.good for f in run.figures)


def _asked_to_end(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--requests", type=int, default=20_000, help="at each weight")
    parser.add_argument("--weights", nargs="+", type=float, default=WEIGHTS, help="in %%, growing")
    parser.add_argument("--replicas", nargs="+", type=int, default=[1, 20], help="with a weight")
    parser.add_argument("--times", type=int, default=5, help="of switch, abort, rollback")
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second meanwhile")
    wanted = parser.parse_args()
    if os.geteuid() != 0:
        print("This needs root.", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, _asked_to_end)
    purge_abandoned()
    with place() as cluster:
        cluster.up("--nodes", str(NODES))
        rows = cluster.must("node", "ls", "-o", "json").json
        run = Run(cluster, {row["name"]: row["address"] for row in rows}, wanted)
        try:
            run.all()
        finally:
            good = tell(run)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
