"""`history`."""

import msgspec
import pytest

from stackd.core.model.api import NameRequest
from stackd.core.model.ids import RevisionId
from stackd.core.model.release import Hold, Stack
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.errors import Refused
from stackd.manager.api.history import HistoryApi
from tests.fakes.harness import Harness
from tests.fakes.stacks import service, stack
from tests.unit.manager.api.cases import CALLER, declared, running

KEYS = ("release", "commit", "at", "by", "state", "services")


async def test_releases_newest_first_with_the_keys_of_the_contract() -> None:
    async with Harness() as on:
        first = await running(on)
        second = await declared(on, stack(service(container_user="1")))
        rows = (await HistoryApi(on.tables).history(NameRequest(name="shop"), CALLER)).releases
    assert rows[0].__struct_fields__ == KEYS
    assert [(r.release, r.state) for r in rows] == [(2, "current"), (1, "replaced")]
    assert rows[0].services == {"web": second.services["web"].revision}
    assert rows[1].services["web"] == first
    assert (rows[1].commit, rows[1].by, rows[1].at) == (
        *("c" * 40, "root@local", "2023-11-14T22:13:20Z"),
    )


async def test_releases_left_by_going_back_are_told_apart() -> None:
    async with Harness() as on:
        await running(on)
        await declared(on, stack(service(container_user="1")))
        head = on.tables.world.get(Stack, "shop")
        assert head is not None
        await on.put(msgspec.structs.replace(head, release=1))
        rows = (await HistoryApi(on.tables).history(NameRequest(name="shop"), CALLER)).releases
    assert [(r.release, r.state) for r in rows] == [(2, "rolled_back"), (1, "current")]


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        (RolloutPhase.COMPLETE, "current"),
        (RolloutPhase.WAITING, "progressing"),
        (RolloutPhase.PROGRESSING, "progressing"),
        (RolloutPhase.PAUSED, "progressing"),
        (RolloutPhase.ROLLING_BACK, "failed"),
        (RolloutPhase.ABORTED, "failed"),
        (RolloutPhase.FAILED, "failed"),
    ],
)
async def test_what_became_of_the_current_release(phase: RolloutPhase, state: str) -> None:
    async with Harness() as on:
        target = await running(on)
        rollout = Rollout(id="x", target=target, phase=phase)
        await on.put(ServiceState(stack="shop", service="web", rollout=rollout))
        [row] = (await HistoryApi(on.tables).history(NameRequest(name="shop"), CALLER)).releases
    assert row.state == state


@pytest.mark.parametrize(("proven", "state"), [(True, "rolled_back"), (False, "failed")])
async def test_what_is_refused_is_not_said_to_run(proven: bool, state: str) -> None:
    """As `status` has it: a refused revision runs nowhere, whether it is declared or was before."""
    async with Harness() as on:
        target = await running(on)
        rollout = Rollout(id="x", target=target, phase=RolloutPhase.COMPLETE)
        known = (target,) if proven else ()
        await on.put(ServiceState(stack="shop", service="web", rollout=rollout, proven=known))
        await on.put(Hold(stack="shop", service="web", revision=target, reason="x", at=1))
        [row] = (await HistoryApi(on.tables).history(NameRequest(name="shop"), CALLER)).releases
        await declared(on, stack(service(container_user="1")))
        rows = (await HistoryApi(on.tables).history(NameRequest(name="shop"), CALLER)).releases
    assert row.state == state
    assert [(r.release, r.state) for r in rows] == [(2, "current"), (1, state)]


@pytest.mark.parametrize("phase", [RolloutPhase.ABORTED, RolloutPhase.FAILED])
async def test_what_was_gone_back_to_has_not_failed(phase: RolloutPhase) -> None:
    """The last rollout went to what has been left since; what is declared now runs."""
    async with Harness() as on:
        target = await running(on)
        rollout = Rollout(id="x", target=RevisionId("b" * 12), source=target, phase=phase)
        state = ServiceState(stack="shop", service="web", stable=target, rollout=rollout)
        await on.put(state)
        [row] = (await HistoryApi(on.tables).history(NameRequest(name="shop"), CALLER)).releases
        await on.put(msgspec.structs.replace(state, stable=None))
        [never] = (await HistoryApi(on.tables).history(NameRequest(name="shop"), CALLER)).releases
    assert (row.state, never.state) == ("current", "failed")


async def test_an_unknown_stack_is_refused() -> None:
    async with Harness() as on:
        with pytest.raises(Refused, match="no stack nosuch"):
            await HistoryApi(on.tables).history(NameRequest(name="nosuch"), CALLER)
