"""No request is lost while traffic moves between revisions on three nodes: each strategy taken to
its end, rolled back, begun again and aborted half-way, under requests of all kinds through the
ingress of every node. With `--soak` also with the manager or an agent killed in each of these."""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import pytest

from examples.demo.load import Load, Tally, Target
from tests.e2e import truth
from tests.e2e.cluster import Cluster, Ran, free_port, until
from tests.e2e.stacks import Web
from tests.e2e.test_lossless import off

pytestmark = pytest.mark.e2e

RATE = 240.0
"""Requests a second, shared by the nodes' ingresses."""


@dataclass(frozen=True, slots=True)
class Moves:
    """A strategy that waits for a person before its end."""

    text: str
    waits: int
    """Times that somebody has to promote; it is half-way at the last one."""
    shown: bool
    """Whether users see the new revision half-way."""


UNSURE = "{limits: {error_rate: 50%}, warm_up: 0s, interval: 1s, min_requests: 1000000"
STRATEGIES = {
    "canary": Moves("steps: [{set_weight: 10%}, {set_weight: 50%}, {pause: {}}]", 1, shown=True),
    "blue-green": Moves(
        f"auto_promote: false, post_promotion: {UNSURE}, time_limit: 1s}}", 2, shown=True
    ),
    "shadow": Moves(f"mirror: 50%, duration: 1s, analysis: {UNSURE}}}", 1, shown=False),
    "ab": Moves("split: 30%, match: [{header: {name: x-group, exact: b}}]", 1, shown=True),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    soak = metafunc.config.getoption("soak")
    metafunc.parametrize("victim", ["", "manager", "agent"] if soak else [""])


@pytest.fixture(scope="module")
def nodes(request: pytest.FixtureRequest) -> Cluster:
    """Three nodes; where an agent is killed it has the usual 15 s to come back."""
    if not request.config.getoption("soak"):
        shared: Cluster = request.getfixturevalue("three")
        return shared
    own: Cluster = request.getfixturevalue("apart")
    own.up("--nodes", "3")
    return own


@pytest.fixture(scope="module")
def agents() -> Iterator[str]:
    """Whose turn it is: who ends again and again is started with growing pauses, and its node
    counts as down in the end."""
    return itertools.cycle(["node2/agent", "node3/agent", "node1/agent"])


@contextlib.asynccontextmanager
async def load(hosts: list[str], port: int) -> AsyncIterator[list[Tally]]:
    """Requests through each of the nodes while the block runs and a second after it."""
    async with contextlib.AsyncExitStack() as stack:
        made = [Load(Target(host, port), RATE / len(hosts)) for host in hosts]
        tallies = [await stack.enter_async_context(one.running()) for one in made]
        await asyncio.sleep(1)
        yield tallies
        await asyncio.sleep(1)


@dataclass(frozen=True, slots=True)
class Service:
    """The service under test, and what is killed in the middle of whatever it is asked."""

    cluster: Cluster
    web: Web
    moves: Moves
    victims: Iterator[str] | None = None

    @property
    def spared(self) -> "Service":
        """The same with nothing killed."""
        return replace(self, victims=None)

    def deploy(self, version: int) -> None:
        text = replace(self.web, version=version).text
        kept = [line for line in text.splitlines() if "update_config" not in line]
        self._ask(self.cluster.apply("\n".join(kept)))

    def ask(self, what: str) -> None:
        self._ask(self.cluster.run(what, f"{self.web.name}/web"))

    def _ask(self, ran: Ran) -> None:
        assert ran.code == 0, ran.out + ran.err
        if self.victims is not None:
            name = next(self.victims)
            found = truth.processes(self.cluster)[name]
            found.kill()
            until(lambda: not found.alive, f"{name} has ended")
            until(lambda: name in truth.processes(self.cluster), f"{name} is there again")

    def ends(self, code: int) -> None:
        """Wait, also while no manager is there."""

        def ended() -> Ran | None:
            ran = self.cluster.run("wait", self.web.name, "--timeout", "60s")
            return ran if ran.code != 1 else None

        ran = until(ended, "the wait ends", 70)
        assert ran is not None
        assert ran.code == code, (ran.code, ran.out, ran.err)

    def half_way(self) -> None:
        for number in range(self.moves.waits):
            if number:
                self.spared.ask("promote")
            self.ends(3)

    def tasks(self) -> set[str]:
        return {row["id"] for row in self.cluster.ps(self.web.name)}

    def only(self, tasks: set[str]) -> None:
        """Exactly these tasks are left: those of before, none of them made anew."""
        until(lambda: self.cluster.run("ps").code == 0, "the manager answers")
        until(lambda: self.tasks() == tasks, "only the first tasks are left")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", STRATEGIES)
def test_forward_back_and_aborted(
    nodes: Cluster, agents: Iterator[str], kind: str, victim: str
) -> None:
    moves = STRATEGIES[kind]
    strategy = f"      strategy: {{type: {kind}, monitor: 500ms, {moves.text}}}\n"
    web = Web("moved", free_port(), replicas=2, deploy=strategy)
    victims = {"": None, "manager": itertools.repeat("manager"), "agent": agents}[victim]
    service = Service(nodes, web, moves, victims)
    hosts = [row["address"] for row in nodes.must("node", "ls", "-o", "json").json]
    service.spared.deploy(1)
    service.ends(0)
    before = service.tasks()

    async def scenario() -> list[Tally]:
        async with load(hosts, web.port) as tallies:
            await off(service.deploy, 2)
            await off(service.half_way)
            await off(service.ask, "promote")
            await off(service.ends, 0)
            await off(service.ask, "rollback")
            await off(service.only, before)
            await off(service.spared.deploy, 3)
            await off(service.half_way)
            await off(service.ask, "abort")
            await off(service.ends, 2)
            await off(service.only, before)
        return tallies

    tallies = asyncio.run(scenario())
    for host, tally in zip(hosts, tallies, strict=True):
        print(f"{kind} {victim} {host}: {tally}")
    lost = [line for tally in tallies for line in tally.lost]
    assert not lost, (len(lost), lost[:5])
    seen = Counter[str]()
    for tally in tallies:
        seen += tally.versions
    assert set(seen) == ({"1", "2", "3"} if moves.shown else {"1", "2"})
    assert nodes.run("rm", "moved", "--wait").code == 0
