"""kill -9 in the middle of a rollout over three nodes: it goes on to its end, and nothing is
restarted but what was killed. `make test` kills some, `make soak` all."""

import asyncio
from collections.abc import Mapping

import pytest

from examples.demo.load import Tally
from tests.e2e import truth
from tests.e2e.cluster import Cluster, free_port, until
from tests.e2e.stacks import Web, ready
from tests.e2e.test_faults import answers, load, tasks
from tests.e2e.test_nodes import broken, on, placed

pytestmark = pytest.mark.e2e

QUICK = ("manager", "node2/agent")
LATER = (
    "node2",
    "node1/agent",
    "node2/spawner",
    "node2/envoy-keeper",
    "node2/envoy-1",
    "node1/envoy-1",
    "conmon",
    "container",
)
CARRYING = ("node1/envoy-1", "container", "node2")
"""What these carry is lost with them, and is counted apart."""


@pytest.fixture(scope="module")
def patient(apart: Cluster) -> Cluster:
    """Three nodes with the heartbeat that clusters have: an agent has 15 s to come back."""
    apart.up("--nodes", "3")
    return apart


def named(found: Mapping[str, truth.Process], victim: str, old: str) -> str:
    """The process that is meant: for a container or its monitor, that of the old task."""
    if victim in ("conmon", "container"):
        end = "/conmon" if victim == "conmon" else ""
        return next(name for name in found if name.endswith(f"/b/{old}{end}"))
    return next(name for name in sorted(found) if name.startswith(victim))


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "victim", [*QUICK, *(pytest.param(name, marks=pytest.mark.soak) for name in LATER)]
)
def test_killed_in_the_middle_of_a_rollout(patient: Cluster, victim: str) -> None:
    web = Web("moving", free_port(), replicas=3)
    assert patient.apply(web.text, "--wait").code == 0
    before = tasks(patient, "moving")

    def begun() -> bool:
        return bool(tasks(patient, "moving") - before)

    def went_on() -> None:
        until(lambda: patient.run("ps").code == 0, "the manager answers")
        ran = patient.run("wait", "moving", "--timeout", "90s")
        assert ran.code == 0, ran.out + ran.err

    def hit() -> None:
        if victim == "node2":
            with broken(patient, "node2", "kill", "start"):
                went_on()
            return
        old = sorted(before & tasks(patient, "moving"))
        found = truth.processes(patient)
        name = named(found, victim, old[-1])
        found[name].kill()
        went_on()
        after = truth.processes(patient)
        others = {n: p for n, p in found.items() if "/b/" not in n and not n.startswith(victim)}
        assert {n: after.get(n) for n in others} == others

    async def scenario() -> Tally:
        async with load(web.port) as tally:
            changed = Web("moving", web.port, version=2, replicas=3)
            assert (await asyncio.to_thread(patient.apply, changed.text)).code == 0
            await asyncio.to_thread(until, begun, "the rollout has begun")
            await asyncio.to_thread(hit)
        return tally

    tally = asyncio.run(scenario())
    print(f"{victim}: {tally}")
    assert victim in CARRYING or not tally.lost, tally.lost[:5]
    assert set(tally.versions) == {"1", "2"}
    until(lambda: answers(web.port), "the port answers")
    ready(patient, "moving", 3)
    assert not tasks(patient, "moving") & before
    if victim == "node2":
        assert on(placed(patient, "moving"), "node1")
    assert patient.run("rm", "moving", "--wait").code == 0
