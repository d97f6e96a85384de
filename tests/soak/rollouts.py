"""`python -m tests.soak.rollouts`: is any request lost while traffic moves between revisions?

Every strategy, forward, rolled back, and forward again until it is aborted half-way, on one cluster
of three nodes that is never restarted, under 500 requests/s of all kinds through the ingress of
every node. In a fifth of the runs the manager or an agent is killed at a random moment. In further
runs an Envoy is killed: what it lost is counted apart. Prints a line for each run and a table of
all; exits 1 when a request was lost or a rollout did not end as it must. Needs root.
"""

import argparse
import asyncio
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from examples.demo.load import Load
from tests.e2e.cluster import Cluster, free_port
from tests.e2e.moving import STRATEGIES, Service, loaded
from tests.e2e.places import place, purge_abandoned
from tests.e2e.stacks import Web
from tests.soak import kills, results
from tests.soak.kills import Kill
from tests.soak.results import Run

ENOUGH = 0.9
"""Share of the rate that must have been reached for a run to count."""
HELD_UP = 1.0
"""Seconds that the client may have waited for the processor in a run that counts."""
NODES = 3
EVERY = 5
"""One of so many runs has a kill."""
USUAL = 3.0
"""Seconds of a rollout, as long as none was seen."""
EXPECTED = {"forward": "2", "rolled back": "1", "aborted half-way": "3"}
"""The version that each direction is about."""
DIRECTIONS = tuple(EXPECTED)


@dataclass(slots=True)
class Soak:
    """The cluster, and what has been seen."""

    cluster: Cluster
    hosts: dict[str, str]
    """Node -> the address of its ingress."""
    wanted: argparse.Namespace
    runs: list[Run] = field(default_factory=list)
    services: dict[str, Service] = field(default_factory=dict)
    first: dict[str, set[str]] = field(default_factory=dict)
    """Strategy -> the tasks of version 1."""
    made: int = 0
    """Cycles so far: what was once aborted is refused, so each has revisions of its own."""

    def deploy(self, strategy: str) -> None:
        """Version 1 of a strategy's service, from nothing."""
        self.cluster.run("rm", strategy, "--wait")
        web = Web(strategy, free_port(), replicas=2)
        service = Service(self.cluster, web, STRATEGIES[strategy])
        service.deploy(1)
        service.ends(0)
        self.services[strategy], self.first[strategy] = service, service.tasks()

    def chosen(self, strategy: str, direction: str, number: int, *, envoy: bool) -> Kill | None:
        """What is killed in this run."""
        place, turn = list(STRATEGIES).index(strategy), DIRECTIONS.index(direction)
        dice = random.Random(f"{self.wanted.seed} {strategy} {direction} {number} {envoy}")
        if not envoy and (number + place + turn) % EVERY:
            return None
        spans = [
            run.span
            for run in self.runs
            if (run.strategy, run.direction, run.kill) == (strategy, direction, None)
            and not run.problem
        ]
        moment = dice.uniform(0, min(spans, default=USUAL))
        if envoy:
            return Kill("envoy", f"node{(number + turn) % NODES + 1}", moment)
        what = ("manager", "agent")[(number // EVERY + place) % 2]
        return Kill(what, dice.choice(sorted(self.hosts)), moment)

    async def cycle(self, strategy: str, number: int, *, envoy: bool = False) -> list[Run]:
        """All directions in turn under one load."""
        service = self.services[strategy]
        self.made += 1
        runs = [
            Run(strategy, way, number, self.chosen(strategy, way, number, envoy=envoy))
            for way in DIRECTIONS
        ]
        async with loaded(list(self.hosts.values()), service.web.port, self.wanted.rate) as found:
            loads = dict(zip(self.hosts, found, strict=True))
            for load in found:
                load.looks = envoy
            for run in runs:
                await self._run(run, loads)
                if run.problem:
                    break
        runs = [run for run in runs if run.tallies]
        for run in runs:
            run.judge(runs, away=service.moves.away)
            if EXPECTED[run.direction] not in run.versions and self._shows(run):
                run.problem = run.problem or f"only versions {sorted(run.versions)} were seen"
        return runs

    async def _run(self, run: Run, loads: dict[str, Load]) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        run.tallies = {node: load.turn() for node, load in loads.items()}
        killing = None
        if run.kill is not None:
            ingress = kills.Ingress(loads[run.kill.node], self._calm(run.strategy))
            killing = loop.create_task(kills.kill(self.cluster, run.kill, ingress))
        service = self._service(run)
        try:
            await asyncio.to_thread(self._move, service, run)
        except AssertionError as error:
            run.problem = f"{time.strftime('%H:%M:%S')} {error}"
        run.span = loop.time() - begun
        if killing is not None:
            run.outage = await killing
            await asyncio.to_thread(service.answers)
        await asyncio.sleep(0.5)
        run.rate = run.sent / (loop.time() - begun)
        run.held_up = max(load.held_up for load in loads.values())
        run.starved = run.rate < ENOUGH * self.wanted.rate or run.held_up > HELD_UP

    def _shows(self, run: Run) -> bool:
        """Whether users must have seen the version that the run is about."""
        moves = self.services[run.strategy].moves
        return run.direction != "aborted half-way" or (moves.shown and moves.waits > 0)

    def _calm(self, strategy: str) -> int:
        """A port that is served all the time: of another service where this one is recreated."""
        others = [s.web.port for name, s in self.services.items() if name != strategy]
        own = self.services[strategy]
        return others[0] if others and own.moves.away else own.web.port

    def _service(self, run: Run) -> Service:
        service = self.services[run.strategy]
        away = run.kill is not None and run.kill.what == "manager"
        return Service(self.cluster, service.web, service.moves, forgiving=away)

    def _move(self, service: Service, run: Run) -> None:
        match run.direction:
            case "forward":
                service.deploy(2, self.made)
                if service.moves.waits:
                    service.half_way()
                    service.promote()
                service.ends(0)
            case "rolled back":
                service.rollback()
                service.ends(2)
                service.first(self.first[run.strategy])
            case _:
                service.deploy(3, self.made)
                service.half_way()
                service.abort()
                service.ends(2)
                service.first(self.first[run.strategy])

    def tell(self, runs: Sequence[Run]) -> None:
        """Print them; after a problem the service begins from nothing again."""
        for run in runs:
            self.runs.append(run)
            print(run.line, flush=True)
            for lost in run.losses.lost[:10]:
                at = datetime.fromtimestamp(lost.begun + time.time() - time.monotonic(), UTC)
                took = lost.ended - lost.begun
                print(f"      {at:%H:%M:%S.%f} {lost}, after {took:.3f} s", flush=True)
        bad = [run for run in runs if not run.good]
        if bad:
            self._keep(bad[0])
            self.deploy(bad[0].strategy)

    def _keep(self, run: Run) -> None:
        """What tells why."""
        if self.wanted.logs is None:
            return
        folder = self.wanted.logs / f"{run.strategy}-{run.number}-{run.direction.replace(' ', '-')}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.cluster.data / "logs", folder)
        for name, words in {
            "events": ("events",),
            "ps": ("ps", "--all"),
            "status": ("status", f"{run.strategy}/web", "-o", "json"),
            "why": ("why", f"{run.strategy}/web"),
        }.items():
            ran = self.cluster.run(*words)
            (folder / f"{name}.txt").write_text(ran.out + ran.err)


def soak(wanted: argparse.Namespace, cluster: Cluster) -> int:
    """All runs on a cluster that is up; 1 when one was not good."""
    rows = cluster.must("node", "ls", "-o", "json").json
    hosts = {row["name"]: row["address"] for row in rows}
    made = Soak(cluster, hosts, wanted)
    began = time.monotonic()
    try:
        for strategy in wanted.only:
            made.deploy(strategy)
        numbers = [(n, False) for n in range(wanted.first, wanted.first + wanted.runs)]
        numbers += [(n, True) for n in range(wanted.first, wanted.first + wanted.envoy)]
        left = wanted.repeats
        for number, envoy in numbers:
            for strategy in wanted.only:
                while True:
                    runs = asyncio.run(made.cycle(strategy, number, envoy=envoy))
                    made.tell(runs)
                    if not left or not any(run.starved for run in runs):
                        break
                    left -= 1
    finally:
        print()
        print("\n".join([*results.table(made.runs), "", *results.outages(made.runs)]))
        took = time.monotonic() - began
        sent = sum(run.sent for run in made.runs)
        bad = sum(not run.good for run in made.runs)
        starved = sum(run.starved for run in made.runs)
        print(
            f"\n{len(made.runs)} runs, {bad} bad, {starved} that do not count; {sent:,} requests "
            f"in {took / 60:.0f} minutes, {wanted.rate:g} a second, seed {wanted.seed}, "
            f"{os.cpu_count()} cores, load {os.getloadavg()[2]:.1f}",
            flush=True,
        )
    return 1 if bad else 0


def _asked_to_end(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="of each strategy and direction")
    parser.add_argument("--envoy", type=int, default=2, help="the same with an Envoy killed")
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second, in all")
    parser.add_argument("--repeats", type=int, default=20, help="of runs that did not count")
    parser.add_argument("--first", type=int, default=1, help="number of the first run")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
    parser.add_argument("--only", nargs="+", choices=list(STRATEGIES), default=list(STRATEGIES))
    parser.add_argument("--logs", type=Path, help="folder for the logs of runs that were not good")
    wanted = parser.parse_args()
    if os.geteuid() != 0:
        print("The soak needs root.", file=sys.stderr)
        return 1
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGTERM, _asked_to_end)
    purge_abandoned()
    with place() as cluster:
        cluster.up("--nodes", str(NODES))
        return soak(wanted, cluster)


if __name__ == "__main__":
    sys.exit(main())
