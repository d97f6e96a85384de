"""A caller, and a store in which a stack runs, for tests of the control API's handlers."""

from collections.abc import AsyncIterator, Mapping
from typing import TypeVar

from stackd.core.model.ids import NetworkId, RevisionId
from stackd.core.model.network import Network
from stackd.core.model.release import Release
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.stack import StackSpec
from stackd.core.plan import records
from stackd.core.plan.make import make_plan
from stackd.wire.control import ROOT_PRINCIPAL, Caller
from tests.fakes.harness import Harness
from tests.fakes.stacks import NOW, declare, node, service, stack, task

CALLER = Caller(ROOT_PRINCIPAL, "Test")
T = TypeVar("T")
SHARED = Network(id=NetworkId("net1"), name="shop_default", vni=1, subnet="10.0.0.0/24")


def unmeasured(service: str) -> Mapping[str, int]:
    """No ingress has told of any request."""
    return {}


async def declared(on: Harness, spec: StackSpec, commit: str = "", **fields: str) -> Release:
    """Write a release of `spec` as the deployer would."""
    plan = make_plan(on.world, declare(spec, **fields))
    stamp = records.Stamp(at=NOW, by=ROOT_PRINCIPAL, event=f"r{plan.base}", commit=commit)
    for changes in records.preparation(on.world, plan, ()):
        await on.tables.commit(changes)
    await on.tables.commit(records.release(on.world, plan, stamp))
    await on.settle()
    found = on.world.release(spec.name)
    assert found is not None
    return found


async def running(on: Harness) -> RevisionId:
    """shop/web with two ready tasks on node1 and shop/db with none; the revision of web."""
    release = await declared(on, stack(service(replicas=2), service("db")), commit="c" * 40)
    revision = release.services["web"].revision
    rollout = Rollout(id="x", target=revision, phase=RolloutPhase.COMPLETE, started=NOW)
    state = ServiceState(
        stack="shop", service="web", stable=revision, counts={revision: 2}, rollout=rollout
    )
    await on.put(SHARED, *node(), state)
    for number in (1, 2):
        addresses = {"net1": f"10.0.0.{number + 20}"}
        found = task(f"task{number}", slot=str(number), revision=revision, addresses=addresses)
        await on.put(*found)
    return revision


async def collected(answers: AsyncIterator[T]) -> list[T]:
    """All of a stream."""
    return [answer async for answer in answers]
