"""Makes the store file that later releases must be able to open, one per format and release:
`python -m tests.tools.write_store_fixture FILE`. An existing file is never replaced: once it was
released it stands for stores in the field."""

import asyncio
import sys
from pathlib import Path

from stackd.aio.clock import ManualClock
from stackd.core.model.access import ApiToken, Scope
from stackd.core.model.analysis import Analysis
from stackd.core.model.cluster import JoinSecrets
from stackd.core.model.container import ContainerSpec
from stackd.core.model.event import Event
from stackd.core.model.ids import NetworkId, NodeId, RevisionId, TaskId
from stackd.core.model.network import Network, ServiceAddresses, VolumeBinding
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.record import Changes, Put, Record
from stackd.core.model.registry import RegistryLogin
from stackd.core.model.release import (
    ContentHead,
    ContentKind,
    ContentVersion,
    Digest,
    Freeze,
    Hold,
    Override,
    Release,
    Revision,
    ServiceRelease,
    Stack,
)
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState, ToggleState
from stackd.core.model.source import CommitReport, CommitState, Repository, RepositoryStatus, Revert
from stackd.core.model.stack import ServiceSpec, StackSpec
from stackd.core.model.states import NodeState, TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.toggle import ToggleOverride
from stackd.core.model.traffic import Endpoint, EndpointState, TrafficEntry
from stackd.core.model.world import World
from stackd.store.records import RECORDS as KINDS
from stackd.store.sqlite import SqliteStore
from stackd.store.tables import Tables

NODE = NodeId("node1node1no")
TASK = TaskId("task1task1ta")
REVISION = RevisionId("0123456789ab")
NETWORK = NetworkId("net1net1")
CONTAINER = ContainerSpec(image="web@sha256:" + "1" * 64, environment={"LONG": "x" * 2000})
SERVICE = ServiceSpec(name="web", container=CONTAINER)

RECORDS: tuple[Record, ...] = (
    ToggleOverride(
        stack="shop",
        service="web",
        feature="new_checkout",
        share=5_000,
        declared=1_000,
        by="root",
        at=1.0,
    ),
    ApiToken(
        name="ci",
        hash="0" * 64,
        scopes=(Scope.DEPLOY,),
        stacks=("shop",),
        expires=9.0,
        created=1.0,
        by="root",
    ),
    Analysis(stack="shop", service="web", rollout="r1"),
    Event(id="e1", at=1.0, kind="stack.applied", object="shop", principal="root"),
    JoinSecrets(worker=b"sealed", manager=b"sealed too"),
    Network(id=NETWORK, name="shop_default", vni=4097, subnet="10.64.0.0/24"),
    ServiceAddresses(stack="shop", service="web", vips={NETWORK: "10.64.0.9"}),
    VolumeBinding(name="shop_data", node=NODE),
    Node(id=NODE, name="node1"),
    NodeStatus(id=NODE, state=NodeState.READY, address="192.0.2.1", cpus=2.0, memory=1 << 30),
    ContentHead(kind=ContentKind.SECRET, name="key", version="v1"),
    ContentVersion(
        kind=ContentKind.SECRET, name="key", version="v1", value=bytes(range(256)), size=12
    ),
    Digest(stack="shop", service="web", image="web:1", digest="sha256:" + "1" * 64),
    Freeze(stack="shop", reason="the fair", by="root", at=2.0, until=9.0),
    Hold(stack="shop", service="web", revision=REVISION, reason="it failed", at=2.0),
    Override(stack="shop", service="web", replicas=3, declared=2, by="root", at=3.0),
    Release(
        stack="shop",
        number=1,
        spec=StackSpec(name="shop", services={"web": SERVICE}),
        services={"web": ServiceRelease(spec=SERVICE, revision=REVISION)},
    ),
    Revision(stack="shop", service="web", id=REVISION, container=CONTAINER),
    Stack(name="shop", owner="cli", release=1),
    ServiceState(
        stack="shop",
        service="web",
        stable=REVISION,
        counts={REVISION: 2},
        rollout=Rollout(id="r1", target=REVISION, phase=RolloutPhase.COMPLETE),
    ),
    ToggleState(
        stack="shop",
        service="web/new_checkout",
        stable=RevisionId("10%"),
        former=1_000,
        weights=ToggleState.reaching(2_500),
        rollout=Rollout(id="r2", target=RevisionId("100%"), source=RevisionId("10%"), step=1),
    ),
    RegistryLogin(host="registry.example", username="ci", password=b"sealed"),
    CommitReport(repository="shop", commit="c" * 40, state=CommitState.SUCCESS),
    Repository(name="shop", url="https://git.example/shop.git"),
    RepositoryStatus(name="shop", commit="c" * 40),
    Revert(repository="shop", commit="c" * 40, reason="it failed"),
    Task(id=TASK, stack="shop", service="web", slot="1", revision=REVISION, node=NODE),
    TaskDesired(id=TASK, state=TaskState.RUNNING),
    TaskStatus(id=TASK, state=TaskState.RUNNING, ready=True),
    TrafficEntry(
        stack="shop",
        service="web",
        endpoints=(
            Endpoint(
                task=TASK,
                revision=REVISION,
                node=NODE,
                state=EndpointState.READY,
                addresses={NETWORK: "10.64.0.7"},
            ),
        ),
        weights={REVISION: 10_000},
    ),
)
"""One record of every kind."""


def kinds_left_out() -> set[type[Record]]:
    """Kinds of records that the fixture does not have."""
    return set(KINDS) - {type(record) for record in RECORDS}


def next_release(world: World, name: str) -> Changes:
    """Count the release of a stack up by one, from what `world` has."""
    found = world.get(Stack, name)
    release = found.release + 1 if found else 1
    return Changes(changes=(Put(record=Stack(name=name, owner="cli", release=release)),))


async def write(path: Path) -> None:
    """Make the store file."""
    clock = ManualClock()
    store = await SqliteStore.open(path, clock)
    tables = Tables(store, clock)
    await tables.open()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(tables.run())
        for record in RECORDS:
            await tables.commit(Changes(changes=(Put(record=record),)))
        running.cancel()
    await store.close()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    if target.exists():
        raise SystemExit(f"{target} exists; the store of a release is never rewritten")
    asyncio.run(write(target))
