"""No request is lost while services change on three nodes: 300 requests a second of all kinds
through the ingress, counted by the client. A node that is drained: `test_nodes`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from examples.demo.load import Connection, Load, Mix, Tally, Target
from tests.e2e.cluster import Cluster, free_port, until
from tests.e2e.stacks import Web, ready

pytestmark = pytest.mark.e2e

RATE = 300.0
ENOUGH = 0.5
"""Share of the rate that must have been reached for a count to mean anything; the rest is what a
busy machine may keep from the client."""
T = TypeVar("T")


@contextlib.asynccontextmanager
async def load(port: int, mix: Mix | None = None) -> AsyncIterator[Tally]:
    """Requests while the block runs and a second before and after it."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with Load(Target("127.0.0.1", port), RATE, mix).running() as tally:
        await asyncio.sleep(1)
        yield tally
        await asyncio.sleep(1)
        took = loop.time() - start
    print(f"{tally}, {tally.sent / took:.0f} a second")
    assert tally.sent >= ENOUGH * RATE * took


def nothing_lost(tally: Tally, *versions: str) -> None:
    assert not tally.lost, (len(tally.lost), tally.lost[:5])
    assert set(tally.versions) == set(versions)


async def off(work: Callable[..., T], *arguments: Any) -> T:
    """In a thread, so that the load goes on."""
    return await asyncio.to_thread(work, *arguments)


async def applied(cluster: Cluster, web: Web) -> None:
    ran = await off(lambda: cluster.apply(web.text, "--wait", "--timeout", "100s"))
    assert ran.code == 0, ran.out + ran.err


def test_update_start_first_and_rollback(three: Cluster) -> None:
    web = Web("start-first", free_port(), replicas=2)
    assert three.apply(web.text, "--wait").code == 0

    async def scenario() -> Tally:
        async with load(web.port) as tally:
            await applied(three, replace(web, version=2))
            ran = await off(three.run, "rollback", web.name, "--wait", "--timeout", "100s")
            assert ran.code == 0, ran.out + ran.err
        return tally

    nothing_lost(asyncio.run(scenario()), "1", "2")
    assert {row["image"] for row in three.ps(web.name)} == {"stackd-demo:1"}
    assert three.run("rm", web.name, "--wait").code == 0


@pytest.mark.soak
def test_update_stop_first_two_at_once(three: Cluster) -> None:
    update = ", order: stop-first, parallelism: 2"
    web = Web("stop-first", free_port(), replicas=3, update=update)
    assert three.apply(web.text, "--wait").code == 0

    async def scenario() -> Tally:
        async with load(web.port) as tally:
            await applied(three, replace(web, version=2))
        return tally

    nothing_lost(asyncio.run(scenario()), "1", "2")
    assert {row["image"] for row in three.ps(web.name)} == {"stackd-demo:2"}
    assert three.run("rm", web.name, "--wait").code == 0


def test_tcp_service_loses_nothing_short_and_cuts_the_rest_at_the_cap(three: Cluster) -> None:
    """Every connection of a tcp port that lasts longer than drain_timeout is cut; no other is."""
    port = free_port()
    web = Web("plain", port, deploy="      drain_timeout: 3s\n")
    text = web.text.replace("app_protocol: http", "app_protocol: tcp")
    text = text.replace(
        "update_config: {monitor: 500ms}\n      drain_timeout: 3s",
        "strategy: {type: rolling, monitor: 500ms, drain_timeout: 3s}",
    )
    assert "strategy" in text
    assert three.apply(text, "--wait").code == 0

    async def held() -> tuple[int, float]:
        """Ask on one connection every 100 ms until it is closed: (answers, seconds)."""
        loop = asyncio.get_running_loop()
        connection = await Connection.connect(Target("127.0.0.1", port))
        start, answers = loop.time(), 0
        with contextlib.suppress(OSError, EOFError):
            while connection.open:
                await connection.ask("GET / HTTP/1.1\r\nHost: x\r\n")
                answers += 1
                await asyncio.sleep(0.1)
        connection.close()
        return answers, loop.time() - start

    async def scenario() -> tuple[Tally, list[tuple[int, float]]]:
        async with asyncio.TaskGroup() as group:
            connections = [group.create_task(held()) for _ in range(10)]
            async with load(port, Mix(new=100, post=0, slow=0)) as tally:
                changed = text.replace("stackd-demo:1", "stackd-demo:2")
                ran = await off(lambda: three.apply(changed, "--wait", "--timeout", "100s"))
                assert ran.code == 0, ran.out + ran.err
        return tally, [task.result() for task in connections]

    tally, cut = asyncio.run(scenario())
    nothing_lost(tally, "1", "2")
    assert all(answers > 10 and seconds > 3 for answers, seconds in cut), cut
    assert three.run("rm", "plain", "--wait").code == 0


def test_scaling_up_and_down(three: Cluster) -> None:
    web = Web("scaling", free_port(), replicas=1)
    assert three.apply(web.text, "--wait").code == 0

    async def scenario() -> Tally:
        async with load(web.port) as tally:
            for count in (4, 1):
                assert (await off(three.run, "scale", f"scaling/web={count}")).code == 0
                await off(ready, three, "scaling", count)
        return tally

    nothing_lost(asyncio.run(scenario()), "1")
    assert three.run("rm", "scaling", "--wait").code == 0


@pytest.mark.parametrize(
    "how", ["recreate", "remove", pytest.param("scale to 0", marks=pytest.mark.soak)]
)
def test_what_was_accepted_is_answered(three: Cluster, how: str) -> None:
    """New connections are refused while the service is away; nothing that was accepted is lost."""
    web = Web("away", free_port())
    text = web.text
    if how == "recreate":
        text = text.replace("update_config: {monitor: 500ms}", "strategy: recreate")
    assert three.apply(text, "--wait").code == 0

    async def scenario() -> Tally:
        async with load(web.port) as tally:
            if how == "recreate":
                changed = text.replace("stackd-demo:1", "stackd-demo:2")
                ran = await off(lambda: three.apply(changed, "--wait", "--timeout", "100s"))
            elif how == "remove":
                ran = await off(three.run, "rm", "away", "--wait", "--timeout", "100s")
            else:
                ran = await off(three.run, "scale", "away/web=0")
                await off(lambda: until(lambda: not three.ps("away"), "no task is left"))
            assert ran.code == 0, ran.out + ran.err
        return tally

    tally = asyncio.run(scenario())
    others = [lost for lost in tally.lost if not lost.refused]
    assert not others, (len(others), others[:5])
    assert tally.lost, "the service was never away"
    three.run("rm", "away", "--wait")
