"""`make bench`: how long stackd and Docker Swarm take for the same, in turn on this machine.

A service of the demo image is brought up, updated (10 at a time, new tasks first) and removed with
20 and with 100 replicas. Up and updated is when one client container in the same network has had
an answer of the new version from every task's address; removed is when no container of it is left
in the kernel nor in what the command line shows. Time begins when the command is started.
Everything is removed afterwards; what a killed run has left is removed by the next. Needs root;
`docs/performance.md` explains the table.
"""

import argparse
import fcntl
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import sides, usage
from tests.bench.sides import AT_ONCE, Side

SIZES = (20, 100)
WITHIN = 120.0
WHOLE = 345.0
"""Seconds that one step and one round may take."""
EVERY = 0.01
PLACE = Path("/var/tmp/stackd-bench")
STEPS = ("up", "update", "removal")


@dataclass(slots=True)
class Results:
    """Seconds, and of processor time, by (side, replicas, step), one of each round; and memory by
    side."""

    times: dict[tuple[str, int, str], list[float]] = field(default_factory=dict)
    work: dict[tuple[str, int, str], list[float]] = field(default_factory=dict)
    memory: dict[str, Mapping[str, tuple[int, float]]] = field(default_factory=dict)

    def add(self, place: tuple[str, int, str], seconds: float, work: float) -> None:
        self.times.setdefault(place, []).append(seconds)
        self.work.setdefault(place, []).append(work)
        name, replicas, step = place
        print(f"   {name:7} {replicas:4} {step:8} {seconds:7.2f} s, CPU {work:6.2f} s", flush=True)


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


def _too_long(_number: int, _frame: object) -> None:
    raise TimeoutError(f"one round takes more than {WHOLE:g} s on this machine")


def _asked_to_end(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def measure(side: Side, watcher: Watcher, replicas: int, results: Results) -> None:
    """One size of one side."""

    def step(name: str, act: Callable[[], float]) -> None:
        groups = (*side.groups, usage.GROUP)
        work, began = usage.seconds(groups), time.monotonic()
        seconds = act() - began
        results.add((side.name, replicas, name), seconds, usage.seconds(groups) - work)

    def deploy(version: str) -> float:
        watcher.want(version)
        side.deploy(replicas, version)
        return watcher.all_answer(version, replicas)

    def remove() -> float:
        side.remove()
        until(side.gone, "all tasks go")
        return time.monotonic()

    step("up", lambda: deploy("1"))
    step("update", lambda: deploy("2"))
    until(lambda: side.containers() == side.idle + replicas, "the old tasks go")
    if replicas == max(SIZES):
        results.memory[side.name] = side.memory()
    step("removal", remove)


def run_side(opened: AbstractContextManager[Side], folder: Path, results: Results) -> None:
    """All sizes of one side, from its start to its end."""
    with opened as side:
        watcher = Watcher(folder / "share")
        watcher.want("1")
        until(lambda: (folder / "share" / "seen").exists(), "the client runs")
        for replicas in SIZES:
            measure(side, watcher, replicas, results)


def table(results: Results) -> list[str]:
    """What is printed: medians of the rounds and their ratios, and memory."""
    head = "| replicas | step | Swarm | stackd | ratio | CPU: Swarm | stackd | ratio |"
    lines = ["", head, "|---" * 8 + "|"]
    for replicas in SIZES:
        for step in STEPS:
            row = f"| {replicas} | {step} |"
            for figures in (results.times, results.work):
                swarm = statistics.median(figures["Swarm", replicas, step])
                ours = statistics.median(figures["stackd", replicas, step])
                row += f" {swarm:.2f} s | {ours:.2f} s | {swarm / ours:.1f}x |"
            lines.append(row)
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
    with open(f"{PLACE}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two at a time would measure each other
        signal.signal(signal.SIGTERM, _asked_to_end)
        signal.signal(signal.SIGALRM, _too_long)
        try:
            return compare(wanted.rounds, wanted.only)
        except (TimeoutError, RuntimeError) as error:
            print(f"The benchmark stopped: {error}", file=sys.stderr)
            return 1


def compare(rounds: int, only: str | None) -> int:
    """All rounds and the table."""
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
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        signal.alarm(int(WHOLE))
        for name, folder in places.items():
            if only in (None, name):
                with usage.counted():
                    run_side(open_[name](folder), folder, results)
        signal.alarm(0)
    if only is None:
        print("\n".join(table(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
