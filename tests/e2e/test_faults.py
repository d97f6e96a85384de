"""kill -9 of everything while nothing changes: it is replaced or adopted, and nothing else is
restarted. Truth is read from /proc. In the middle of a rollout: `test_hit_rollouts`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from examples.demo.load import Load, Tally, Target
from tests.e2e import truth
from tests.e2e.cluster import Cluster, free_port, until
from tests.e2e.stacks import Web, get, ready

pytestmark = pytest.mark.e2e

RATE = 100.0


@contextlib.asynccontextmanager
async def load(port: int, rate: float = RATE) -> AsyncIterator[Tally]:
    """Requests of all kinds while the block runs, the first answered before it begins."""
    async with Load(Target("127.0.0.1", port), rate).running() as tally:
        await asyncio.to_thread(until, lambda: tally.answered, "a first answer")
        yield tally


def calm(cluster: Cluster) -> dict[str, truth.Process]:
    """All processes, once nothing that an earlier test has removed is leaving any more."""

    def check() -> dict[str, truth.Process]:
        found = truth.processes(cluster)
        running = {name.split("/")[2] for name in found if "/b/" in name}
        rows = cluster.must("ps", "-o", "json").json
        return found if running == {row["id"] for row in rows} else {}

    return until(check, "only tasks that are to be there run")


def kill(cluster: Cluster, name: str) -> dict[str, truth.Process]:
    """Kill the process and wait until another has its name (or, for the supervisor, until it is
    gone); every other process must be the same as before. Returns those before."""
    before = calm(cluster)
    before[name].kill()
    until(lambda: not before[name].alive, f"{name} has ended")
    if name != "supervisor":
        until(lambda: name in truth.processes(cluster), f"{name} is there again")
    return before


def unchanged(cluster: Cluster, before: dict[str, truth.Process], *but: str) -> None:
    """Nothing was restarted except what was killed: names that begin like one of `but`."""
    after = truth.processes(cluster)
    assert {k: v for k, v in after.items() if not k.startswith(but or "?")} == {
        k: v for k, v in before.items() if not k.startswith(but or "?")
    }


def answers(port: int) -> bool:
    """Whether the ingress serves the port."""
    with contextlib.suppress(OSError, EOFError):
        return get(port)[0] == 200
    return False


def tasks(cluster: Cluster, name: str) -> set[str]:
    return {row["id"] for row in cluster.ps(name)}


@pytest.mark.parametrize("name", ["manager", "node1/agent", "node1/spawner", "node1/envoy-keeper"])
def test_killed_while_nothing_changes(cluster: Cluster, name: str) -> None:
    web = Web("calm", free_port())
    assert cluster.apply(web.text, "--wait").code == 0
    ids = tasks(cluster, "calm")

    async def scenario() -> Tally:
        async with load(web.port) as tally:
            before = await asyncio.to_thread(kill, cluster, name)
            await asyncio.to_thread(until, lambda: cluster.run("ps").code == 0, "it answers", 12)
            await asyncio.to_thread(ready, cluster, "calm", 2)
            unchanged(cluster, before, name)
        return tally

    tally = asyncio.run(scenario())
    assert not tally.lost, tally.lost[:5]
    assert tasks(cluster, "calm") == ids
    changed = Web("calm", web.port, version=2)
    assert cluster.apply(changed.text, "--wait", "--timeout", "60s").code == 0
    assert cluster.run("rm", "calm", "--wait").code == 0


def test_killed_supervisor_is_replaced_by_up(cluster: Cluster) -> None:
    web = Web("supervised", free_port())
    assert cluster.apply(web.text, "--wait").code == 0
    before = kill(cluster, "supervisor")
    unchanged(cluster, before, "supervisor")
    cluster.must("up", "--detach")
    unchanged(cluster, before, "supervisor")
    cluster.must("up", "--detach")
    after = truth.processes(cluster)
    assert after["supervisor"] != before["supervisor"]
    kill(cluster, "manager")  # the new one keeps what it has adopted
    until(lambda: cluster.run("ps").code == 0, "the manager answers")
    assert cluster.run("rm", "supervised", "--wait").code == 0


def test_killed_envoy_listens_again(cluster: Cluster) -> None:
    web = Web("proxied", free_port())
    assert cluster.apply(web.text, "--wait").code == 0
    [name] = [n for n in truth.processes(cluster) if n.startswith("node1/envoy-1")]
    before = kill(cluster, name)

    until(lambda: answers(web.port), "the port answers again")
    unchanged(cluster, before, name)
    assert cluster.run("rm", "proxied", "--wait").code == 0


def test_killed_keeper_and_envoy_together(cluster: Cluster) -> None:
    web = Web("kept", free_port())
    assert cluster.apply(web.text, "--wait").code == 0
    before = calm(cluster)
    both = [n for n in before if n.startswith("node1/envoy")]
    assert len(both) == 2
    for name in both:
        before[name].kill()

    until(lambda: answers(web.port), "the port answers again")
    until(lambda: len(truth.processes(cluster)) == len(before), "both are back")
    unchanged(cluster, before, "node1/envoy")
    assert cluster.run("rm", "kept", "--wait").code == 0


def test_everything_of_the_control_side_at_once(cluster: Cluster) -> None:
    """The containers and Envoy go on by themselves, and `up` adopts them."""
    web = Web("alone", free_port())
    assert cluster.apply(web.text, "--wait").code == 0
    ids = tasks(cluster, "alone")
    before = truth.processes(cluster)
    gone = ("supervisor", "manager", "node1/agent", "node1/spawner", "node1/envoy-keeper")
    for name in gone:
        before[name].kill()
    assert get(web.port)[0] == 200
    unchanged(cluster, before, *gone)
    cluster.must("up", "--detach")
    ready(cluster, "alone", 2)
    unchanged(cluster, before, *gone)
    assert tasks(cluster, "alone") == ids
    assert cluster.run("rm", "alone", "--wait").code == 0


def test_killed_monitor_is_reported_and_replaced_before_the_task_goes(cluster: Cluster) -> None:
    web = Web("watched", free_port(), replicas=1)
    assert cluster.apply(web.text, "--wait").code == 0
    [victim] = tasks(cluster, "watched")

    async def scenario() -> Tally:
        async with load(web.port) as tally:
            before = truth.processes(cluster)
            before[f"node1/b/{victim}/conmon"].kill()
            await asyncio.to_thread(
                lambda: until(
                    lambda: (
                        victim not in tasks(cluster, "watched") and ready(cluster, "watched", 1)
                    ),
                    "replacement",
                )
            )
            unchanged(cluster, before, "node1/b/")
        return tally

    tally = asyncio.run(scenario())
    assert not tally.lost, tally.lost[:5]
    [old] = [row for row in cluster.ps("watched", "--all") if row["id"] == victim]
    assert "monitor lost" in old["error"]
    assert cluster.run("rm", "watched", "--wait").code == 0
