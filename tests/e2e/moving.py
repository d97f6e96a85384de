"""A service whose traffic moves between revisions on demand: forward, back, and forward again until
it is aborted half-way. Used by `test_strategies_lossless` and, with kills, by `tests.soak`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

from examples.demo.load import Load, Target
from tests.e2e.cluster import Cluster, Ran, until
from tests.e2e.stacks import Web

UNSURE = "{limits: {error_rate: 50%}, warm_up: 0s, interval: 1s, min_requests: 1000000"
TRIES = 5


@dataclass(frozen=True, slots=True)
class Moves:
    """A strategy, and where it is half-way."""

    text: str
    waits: int
    """Times that somebody has to promote; it is half-way at the last one. 0: it waits for nobody
    and is half-way when the new revision has a task."""
    shown: bool = True
    """Whether users see the new revision half-way."""
    away: bool = False
    """Whether it is away meanwhile: new connections are refused then."""
    anew: bool = False
    """Whether the way back makes tasks anew."""

    @property
    def deploy(self) -> str:
        """Lines of a stack file."""
        return f"      strategy: {{{self.text}, monitor: 500ms}}\n"


STRATEGIES = {
    "rolling": Moves("type: rolling", 0, anew=True),
    "recreate": Moves("type: recreate", 0, away=True, anew=True),
    "canary": Moves(
        "type: canary, steps: [{set_weight: 10%}, {set_weight: 50%}, {pause: {}}]", waits=1
    ),
    "blue-green": Moves(
        f"type: blue-green, auto_promote: false, post_promotion: {UNSURE}, time_limit: 1s}}",
        waits=2,
    ),
    "shadow": Moves(
        f"type: shadow, mirror: 50%, duration: 1s, analysis: {UNSURE}}}", waits=1, shown=False
    ),
    "ab": Moves(
        "type: ab, split: 30%, match: [{header: {name: x-group, exact: b}}]", waits=1
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Service:
    """The service under test. Nobody else changes it."""

    cluster: Cluster
    web: Web
    moves: Moves
    forgiving: bool = False
    """The manager may be away: what was not answered is asked again, unless it was done."""

    @property
    def name(self) -> str:
        return f"{self.web.name}/web"

    def deploy(self, version: int, run: int = 0) -> None:
        """Declare a revision of its own for each version and run."""
        more = f'    environment: {{RUN: "{run}"}}\n'
        text = replace(self.web, version=version, service=more, deploy=self.moves.deploy).text
        kept = "\n".join(line for line in text.splitlines() if "update_config" not in line)
        self._ask(lambda: self.cluster.apply(kept), lambda: False)

    def promote(self) -> None:
        count = len(self._status()["rollout"]["promoted"])
        self._verb("promote", lambda: len(self._status()["rollout"]["promoted"]) > count)

    def abort(self) -> None:
        self._verb("abort", lambda: self._status()["phase"] in ("rolling_back", "aborted"))

    def rollback(self) -> None:
        source = self._status()["rollout"]["source"]
        self._verb("rollback", lambda: self._status()["rollout"]["target"] == source)

    def _verb(self, verb: str, done: Callable[[], bool]) -> None:
        self._ask(lambda: self.cluster.run(verb, self.name), done)

    def _ask(self, asked: Callable[[], Ran], done: Callable[[], bool]) -> None:
        for _ in range(TRIES if self.forgiving else 1):
            ran = asked()
            if ran.code == 0:
                return
            self.answers()
            if self.forgiving and done():
                return
        raise AssertionError((ran.code, ran.out, ran.err))

    def answers(self) -> None:
        until(lambda: self.cluster.run("ps").code == 0, "the manager answers")

    def _status(self) -> dict[str, Any]:
        found = self._shown("status", self.name)
        assert isinstance(found, dict)
        return found

    def _rows(self) -> list[dict[str, Any]]:
        found = self._shown("ps", self.web.name)
        assert isinstance(found, list)
        return found

    def _shown(self, *words: str) -> Any:
        """What a command shows, once the manager answers."""

        def shown() -> Ran | None:
            ran = self.cluster.run(*words, "-o", "json")
            return ran if ran.code == 0 else None

        ran = until(shown, f"stackd {words[0]} answers")
        assert ran is not None
        return ran.json

    def ends(self, code: int) -> None:
        """Wait, also while no manager is there."""

        def ended() -> Ran | None:
            ran = self.cluster.run("wait", self.web.name, "--timeout", "100s")
            return ran if ran.code != 1 else None

        ran = until(ended, "the wait ends", 150)
        assert ran is not None
        assert ran.code == code, (ran.code, ran.out, ran.err[-1000:])

    def half_way(self) -> None:
        if not self.moves.waits:
            until(self._has_begun, "the new revision has a task")
        for number in range(self.moves.waits):
            if number:
                self.promote()
            self.ends(3)

    def _has_begun(self) -> bool:
        """Whether a task of the new revision is ready; of one that is away meanwhile, wanted."""
        status = self._status()
        target = (status["rollout"] or {}).get("target")
        count = "desired" if self.moves.away else "ready"
        return any(row[count] for row in status["revisions"] if row["id"] == target)

    def tasks(self) -> set[str]:
        """The ids of its tasks."""
        return {row["id"] for row in self._rows()}

    def first(self, tasks: set[str]) -> None:
        """Only these are left, none of them made anew; or, where the way back makes tasks anew,
        as many of version 1."""

        def left() -> bool:
            rows = self._rows()
            good = [r for r in rows if (r["state"], r["health"]) == ("running", "healthy")]
            if len(good) != len(rows) or len(rows) != len(tasks):
                return False
            if self.moves.anew:
                return {row["image"] for row in rows} == {"stackd-demo:1"}
            return {row["id"] for row in rows} == tasks

        until(left, "only the first tasks are left")


@contextlib.asynccontextmanager
async def loaded(hosts: list[str], port: int, rate: float) -> AsyncIterator[list[Load]]:
    """`rate` requests a second, shared by the ingresses of these nodes, while the block runs and a
    second before and after it."""
    async with contextlib.AsyncExitStack() as stack:
        loads = [Load(Target(host, port), rate / len(hosts)) for host in hosts]
        for load in loads:
            await stack.enter_async_context(load.running())
        await asyncio.sleep(1)
        yield loads
        await asyncio.sleep(1)
        for load in loads:
            load.stop()
