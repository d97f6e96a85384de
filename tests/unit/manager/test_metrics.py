"""What /metrics says."""

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from stackd.core.model.ids import NodeId
from stackd.core.model.node import NodeReport
from stackd.core.model.states import NodeState, TaskState
from stackd.manager.metrics import ManagerMetrics
from tests.fakes.harness import Harness
from tests.fakes.stacks import node, task
from tests.unit.manager.api.cases import running


async def scraped(on: Harness) -> list[str]:
    registry = CollectorRegistry()
    registry.register(ManagerMetrics(on.tables))
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if not line.startswith("#")]


async def test_an_empty_cluster() -> None:
    async with Harness() as on:
        lines = await scraped(on)
    assert {"stackd_stacks 0.0", "stackd_releases 0.0", "stackd_quarantined_records 0.0"} <= {
        *lines
    }


async def test_nodes_tasks_rollouts_and_what_is_applied() -> None:
    async with Harness() as on:
        await running(on)
        await on.put(*node(2, state=NodeState.DOWN), *task("old", TaskState.FAILED, slot="3"))
        on.tables.remember(NodeReport(id=NodeId("n1"), applied=7))
        lines = await scraped(on)
        revision = on.world.revision
    assert {
        f"stackd_store_revision {float(revision)}",
        "stackd_stacks 1.0",
        'stackd_nodes{state="ready"} 1.0',
        'stackd_nodes{state="down"} 1.0',
        'stackd_tasks{service="web",stack="shop",state="running"} 2.0',
        'stackd_tasks{service="web",stack="shop",state="failed"} 1.0',
        'stackd_rollouts{phase="complete",service="web",stack="shop"} 1.0',
        'stackd_traffic_applied{node="n1"} 7.0',
    } <= {*lines}
