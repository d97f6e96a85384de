"""No request is lost while traffic moves between revisions on three nodes: taken to its end, rolled
back, begun again and aborted half-way, under requests of all kinds through the ingress of every
node. Every strategy, again and again, and with processes killed: `tests.soak` (`make soak`)."""

import asyncio
from collections import Counter

import pytest

from examples.demo.load import Tally
from tests.e2e.cluster import Cluster, free_port
from tests.e2e.moving import STRATEGIES, Service, loaded
from tests.e2e.stacks import Web
from tests.e2e.test_lossless import off

pytestmark = pytest.mark.e2e

RATE = 240.0
"""Requests a second."""


@pytest.mark.parametrize("kind", ["canary", "blue-green"])
def test_forward_back_and_aborted(three: Cluster, kind: str) -> None:
    service = Service(three, Web("moved", free_port(), replicas=2), STRATEGIES[kind])
    hosts = [row["address"] for row in three.must("node", "ls", "-o", "json").json]
    service.deploy(1)
    service.ends(0)
    before = service.tasks()

    async def scenario() -> list[Tally]:
        async with loaded(hosts, service.web.port, RATE) as loads:
            await off(service.deploy, 2)
            await off(service.half_way)
            await off(service.promote)
            await off(service.ends, 0)
            await off(service.rollback)
            await off(service.first, before)
            await off(service.deploy, 3)
            await off(service.half_way)
            await off(service.abort)
            await off(service.ends, 2)
            await off(service.first, before)
        return [load.tally for load in loads]

    tallies = asyncio.run(scenario())
    seen = Counter[str]()
    for host, tally in zip(hosts, tallies, strict=True):
        print(f"{kind} {host}: {tally}")
        assert not tally.lost, (len(tally.lost), tally.lost[:5])
        seen += tally.versions
    assert set(seen) == {"1", "2", "3"}
    assert three.run("rm", "moved", "--wait").code == 0
