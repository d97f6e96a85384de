"""A canary is judged by the requests that the nodes' ingress saw, by itself."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from examples.demo.load import Load, Mix, Target
from tests.e2e.cluster import Cluster, Ran, free_port, until
from tests.e2e.stacks import Web

pytestmark = pytest.mark.e2e

STEPS = """
      strategy:
        type: canary
        scale_down_delay: 1s
        monitor: 500ms
        steps:
          - {set_weight: 50%}
          - analysis:
              compare: {error_rate: {max_ratio: 3}}
              limits: {error_rate: 5%}
              checks: [{http: {url: "http://127.0.0.1:PORT/healthz"}, name: outside}]
              warm_up: 1s
              interval: 1s
              min_requests: 50
              time_limit: 90s
"""


def judged(port: int) -> Web:
    deploy = STEPS.replace("PORT", str(port))
    return Web("judged", port, replicas=2, deploy=deploy)


def text(web: Web, *, fails: bool = False, version: int = 1) -> str:
    """The stack; `update_config` has no place beside a strategy."""
    lines = replace(web, version=version).text.splitlines()
    kept = [line for line in lines if "update_config" not in line]
    share = "    environment: {DEMO_FAIL_SHARE: 1}\n" if fails else ""
    return "\n".join(kept).replace("    ports:", f"{share}    ports:", 1)


def test_a_bad_canary_is_taken_back_and_a_good_one_goes_on(cluster: Cluster) -> None:
    port = free_port()
    web = judged(port)
    ran = cluster.apply(text(web), "--wait")
    assert ran.code == 0, ran.err
    before = {row["id"] for row in cluster.ps("judged")}

    async def scenario() -> None:
        async with Load(Target("127.0.0.1", port), 60, Mix(5, 0, 0)).running() as tally:
            bad = await asyncio.to_thread(cluster.apply, text(web, fails=True), "--wait")
            assert bad.code == 2, (bad.code, bad.out, bad.err)
            found = cluster.status("judged/web")
            assert found["phase"] == "aborted"
            assert "did not pass its analysis (step 2)" in found["reason"]
            assert "failed" in found["reason"]
            assert {row["id"] for row in cluster.ps("judged")} >= before
            good = await asyncio.to_thread(
                cluster.apply, text(web, version=2), "--wait", "--timeout", "100s"
            )
            assert good.code == 0, (good.code, good.out, good.err)
            assert tally.lost == []

    asyncio.run(scenario())
    until(lambda: cluster.status("judged")["phase"] == "healthy", "it is healthy")
    story = cluster.must("events", "-o", "json").out
    assert "did not pass its analysis" in story
    assert cluster.run("rm", "judged", "--wait").code == 0


def test_an_analysis_goes_on_when_manager_and_agent_are_killed(cluster: Cluster) -> None:
    port = free_port()
    web = replace(judged(port), name="again")
    assert cluster.apply(text(web), "--wait").code == 0

    def looks() -> bool:
        found = cluster.status("again/web")
        return "requests at the canary" in found["reason"] or "warming up" in found["reason"]

    async def scenario() -> None:
        async with Load(Target("127.0.0.1", port), 40, Mix(5, 0, 0)).running() as tally:
            assert cluster.apply(text(web, version=2)).code == 0
            await asyncio.to_thread(until, looks, "the analysis looks")
            for process in ("manager", "node1/agent"):
                os.kill(cluster.pid(process), signal.SIGKILL)
            done = await asyncio.to_thread(again, cluster)
            assert done.code == 0, (done.code, done.out, done.err)
            assert tally.lost == []

    asyncio.run(scenario())
    assert cluster.run("rm", "again", "--wait").code == 0


def again(cluster: Cluster) -> Ran:
    """Wait for the rollout, also while no manager is there."""

    def ended() -> Ran | None:
        ran = cluster.run("wait", "again", "--timeout", "100s")
        return ran if ran.code != 1 else None

    found = until(ended, "the rollout ends", 110)
    assert found is not None
    return found
