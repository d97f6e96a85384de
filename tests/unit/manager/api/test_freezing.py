"""`freeze` and `unfreeze`, and where a freeze is told: status, why, wait, plan."""

import pytest

from stackd.core.model.api import FreezeRequest, NameRequest, WaitRequest
from stackd.core.model.event import Event
from stackd.core.model.release import Freeze
from stackd.errors import Refused
from stackd.manager.api.freezing import FreezeApi
from stackd.manager.api.status import StatusApi
from stackd.manager.api.waiting import WaitingApi
from tests.fakes.harness import Harness
from tests.fakes.stacks import service, stack
from tests.unit.manager.api.cases import CALLER, collected, declared, running, unmeasured


def freezes(on: Harness) -> FreezeApi:
    return FreezeApi(on.context)


async def test_a_freeze_is_told_wherever_one_looks() -> None:
    async with Harness() as on:
        await running(on)
        request = FreezeRequest(name="shop", reason="the fair", seconds=60)
        said = (await freezes(on).freeze(request, CALLER)).text
        assert said.startswith("shop is frozen by root@local until ")
        assert said.endswith("Z: the fair.")
        [status] = (
            await StatusApi(on.tables, on.clock, unmeasured).status(NameRequest(), CALLER)
        ).stacks
        assert [f"shop is {text}." for text in status.frozen] == [said]
        for name in ("shop", "shop/web"):
            why = await WaitingApi(on.tables, on.clock).why(NameRequest(name=name), CALLER)
            assert said.rstrip(".") in why.lines
        await on.advance(60)
        [status] = (
            await StatusApi(on.tables, on.clock, unmeasured).status(NameRequest(), CALLER)
        ).stacks
        assert status.frozen == ()


async def test_who_waits_for_a_frozen_rollout_waits_for_a_person() -> None:
    async with Harness() as on:
        await running(on)
        waiting = WaitingApi(on.tables, on.clock)
        wanted = WaitRequest(name="shop/web", timeout=1)
        assert (await collected(waiting.wait(wanted, CALLER)))[-1].code == 0
        await freezes(on).freeze(FreezeRequest(reason="all quiet"), CALLER)
        assert (await collected(waiting.wait(wanted, CALLER)))[-1].code == 0
        await declared(on, stack(service(container_command=("new",), replicas=2), service("db")))
        last = (await collected(waiting.wait(wanted, CALLER)))[-1]
        assert last.code == 3
        assert "frozen with all stacks by root@local: all quiet" in last.text


async def test_unfreeze_says_what_still_stands_and_all_is_recorded() -> None:
    async with Harness() as on:
        await running(on)
        api = freezes(on)
        await api.freeze(FreezeRequest(name="shop", reason="one"), CALLER)
        await api.freeze(FreezeRequest(reason="two"), CALLER)
        said = (await api.unfreeze(NameRequest(name="shop"), CALLER)).text
        assert said == "shop is still frozen with all stacks by root@local: two."
        assert (await api.unfreeze(NameRequest(), CALLER)).text == (
            "The cluster is no longer frozen."
        )
        assert list(on.world.all(Freeze)) == []
        told = [(e.kind, e.object) for e in on.world.all(Event) if e.kind.startswith("freeze")]
        began, ended = "freeze.began", "freeze.ended"
        assert told == [(began, "shop"), (began, "*"), (ended, "shop"), (ended, "*")]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (FreezeRequest(name="other", reason="x"), "no stack other"),
        (FreezeRequest(name="shop/web", reason="x"), "is a service"),
        (FreezeRequest(name="shop", reason="x", until=9e9, seconds=1), "exclude each other"),
    ],
)
async def test_what_cannot_be_meant_is_refused(request_: FreezeRequest, said: str) -> None:
    async with Harness() as on:
        await running(on)
        with pytest.raises(Refused, match=said):
            await freezes(on).freeze(request_, CALLER)
