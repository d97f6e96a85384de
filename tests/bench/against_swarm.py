"""`make bench`: how long stackd and Docker Swarm take for the same, in turn on this machine.

A service of the demo image is brought up, updated (10 at a time, new tasks first) and removed with
20 and with 100 replicas. Up and updated is when one client container in the same network has had
an answer of the new version from every task's address; removed is when no container of it is left
in the kernel. Time begins when the command is started. Everything is removed afterwards; what a
killed run has left is removed by the next. Needs root; `docs/performance.md` explains the table.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import sides
from tests.bench.sides import AT_ONCE, Side

SIZES = (20, 100)
WITHIN = 120.0
"""Seconds that one step may take."""
EVERY = 0.01
PLACE = Path("/var/tmp/stackd-bench")
STEPS = ("up", "update", "removal")


@dataclass(slots=True)
class Results:
    """Seconds by (side, replicas, step), one of each round, and memory by side."""

    times: dict[tuple[str, int, str], list[float]] = field(default_factory=dict)
    memory: dict[str, Mapping[str, tuple[int, float]]] = field(default_factory=dict)

    def add(self, side: Side, replicas: int, step: str, seconds: float) -> None:
        self.times.setdefault((side.name, replicas, step), []).append(seconds)
        print(f"   {side.name:7} {replicas:4} {step:8} {seconds:7.2f} s", flush=True)


class Watcher:
    """Sees through the client what answers."""

    def __init__(self, share: Path) -> None:
        self._share = share

    def want(self, version: str) -> None:
        (self._share / "wanted.new").write_text(version)
        os.replace(self._share / "wanted.new", self._share / "wanted")

    def all_answer(self, version: str, count: int) -> float:
        """When every one of `count` addresses had answered as `version`."""
        until(lambda: self._seen()[1:] == (version, count, count), f"{count} tasks answer")
        return self._seen()[0]

    def _seen(self) -> tuple[float, str, int, int]:
        try:
            at, version, known, good = (self._share / "seen").read_text().split()
        except (FileNotFoundError, ValueError):
            return 0.0, "", 0, 0
        return float(at), version, int(known), int(good)


def until(check: Callable[[], bool], what: str) -> None:
    """Wait for it. Raises TimeoutError."""
    end = time.monotonic() + WITHIN
    while not check():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {WITHIN:g} s")
        time.sleep(EVERY)


def measure(side: Side, watcher: Watcher, replicas: int, results: Results) -> None:
    """One size of one side."""
    watcher.want("1")
    began = time.monotonic()
    side.deploy(replicas, "1")
    results.add(side, replicas, "up", watcher.all_answer("1", replicas) - began)
    watcher.want("2")
    began = time.monotonic()
    side.deploy(replicas, "2")
    results.add(side, replicas, "update", watcher.all_answer("2", replicas) - began)
    until(lambda: side.containers() == side.idle + replicas, "the old tasks go")
    if replicas == max(SIZES):
        results.memory[side.name] = side.memory()
    began = time.monotonic()
    side.remove()
    until(lambda: side.containers() == side.idle, "all tasks go")
    results.add(side, replicas, "removal", time.monotonic() - began)


def run_side(opened: AbstractContextManager[Side], folder: Path, results: Results) -> None:
    """All sizes of one side, from its start to its end."""
    with opened as side:
        watcher = Watcher(folder / "share")
        watcher.want("1")
        until(lambda: (folder / "share" / "seen").exists(), "the client runs")
        for replicas in SIZES:
            measure(side, watcher, replicas, results)


def table(results: Results) -> list[str]:
    """The lines of the two tables: medians of the rounds and their ratio, and memory."""
    lines = ["", "| replicas | step | Swarm | stackd | ratio |", "|---|---|---|---|---|"]
    for replicas in SIZES:
        for step in STEPS:
            swarm = statistics.median(results.times["Swarm", replicas, step])
            ours = statistics.median(results.times["stackd", replicas, step])
            row = f"{swarm:.2f} s | {ours:.2f} s | {swarm / ours:.1f}x"
            lines.append(f"| {replicas} | {step} | {row} |")
    lines += ["", f"Memory (PSS) with {max(SIZES)} replicas:"]
    for name, kinds in results.memory.items():
        parts = (f"{kind} {n} x {mib / n:.1f}" for kind, (n, mib) in kinds.items())
        whole = sum(mib for _, mib in kinds.values())
        lines.append(f"* {name}: {whole:.0f} MiB ({', '.join(parts)})")
    return lines


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="how often each side has its turn")
    parser.add_argument("--only", choices=("Swarm", "stackd"), help="one side, without a table")
    wanted = parser.parse_args()
    if os.geteuid() != 0:
        print("The benchmark needs root.", file=sys.stderr)
        return 1
    results = Results()
    print(
        f"{os.cpu_count()} cores, kernel {platform.release()}, load {os.getloadavg()[0]:.1f}; "
        f"updates {AT_ONCE} at a time, new tasks first"
    )
    places = {name: Path(f"{PLACE}-{name.lower()}") for name in ("Swarm", "stackd")}
    open_: dict[str, Callable[[Path], AbstractContextManager[Side]]] = {
        "Swarm": sides.swarm,
        "stackd": sides.stackd,
    }
    for number in range(wanted.rounds):
        print(f"round {number + 1} of {wanted.rounds}", flush=True)
        for name, folder in places.items():
            if wanted.only in (None, name):
                run_side(open_[name](folder), folder, results)
    if wanted.only is None:
        print("\n".join(table(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
