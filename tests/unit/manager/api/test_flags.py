"""`flag ls`, `flag set`."""

import msgspec
import pytest

from stackd.core.model.api import FlagRequest, FlagRow, NameRequest
from stackd.core.model.ids import NodeId, RevisionId
from stackd.core.model.node import NodeReport
from stackd.core.model.rollout import Rollout, ToggleState
from stackd.core.model.strategy import Pause, SetWeight, Strategy, StrategyKind
from stackd.core.model.toggle import Toggle, ToggleOverride, ToggleRule, ToggleValue
from stackd.core.model.traffic import TrafficEntry
from stackd.errors import Refused
from stackd.manager.api.flags import STALE, UNUSED, FlagApi
from stackd.manager.api.status import StatusApi
from tests.fakes.harness import Harness
from tests.fakes.stacks import NOW, service, stack
from tests.unit.manager.api.cases import CALLER, declared, unmeasured

RULE = ToggleRule(attribute="plan", any_of=("pro", "team"), share=5_000)
FLAGS = {"cart": Toggle(share=1_000), "dark": Toggle(share=10_000), "new": Toggle(rules=(RULE,))}


def api(on: Harness) -> FlagApi:
    return FlagApi(on.context)


async def rows(on: Harness, name: str = "") -> dict[str, FlagRow]:
    return {row.feature: row for row in (await api(on).list(NameRequest(name=name), CALLER)).flags}


async def set_(on: Harness, name: str, share: int | None) -> str:
    text = (await api(on).set(FlagRequest(name=name, share=share), CALLER)).text
    await on.settle()
    return text


async def test_what_is_declared_is_listed() -> None:
    async with Harness() as on:
        await declared(on, stack(service(features=FLAGS), service("db", features=FLAGS)))
        assert len((await api(on).list(NameRequest(), CALLER)).flags) == 6
        found = await rows(on, "shop/web")
    assert [*found] == ["cart", "dark", "new"]
    assert (found["cart"].share, found["cart"].declared, found["cart"].override) == (
        1000,
        1000,
        None,
    )
    assert found["new"].rules == ("plan is pro or team: 50%",)
    assert found["cart"].since == "2023-11-14T22:13:20Z"


async def test_what_is_set_by_hand_holds_until_it_is_declared_anew() -> None:
    async with Harness() as on:
        await declared(on, stack(service(features=FLAGS)))
        text = await set_(on, "shop/web/cart", 2_500)
        assert text == "shop/web/cart: 25% instead of the declared 10%."
        found = (await rows(on))["cart"]
        assert (found.share, found.declared) == (2_500, 1_000)
        assert found.override is not None
        assert (found.override["by"], found.override["share"]) == ("root@local", 2_500)
        status = await StatusApi(on.tables, on.clock, unmeasured).status(
            NameRequest(name="shop"), CALLER
        )
        assert status.stacks[0].services[0].features[0] == found
        changed = {**FLAGS, "cart": Toggle(share=3_000)}
        await declared(on, stack(service(features=changed)))
        assert (await rows(on))["cart"].override is None
        assert (await rows(on))["cart"].share == 3_000
        assert [e.object for e in on.events("flag.set")] == ["shop/web"]


@pytest.mark.parametrize("share", [None, 1_000])
async def test_as_declared_ends_what_was_set(share: int | None) -> None:
    async with Harness() as on:
        await declared(on, stack(service(features=FLAGS)))
        await set_(on, "shop/web/cart", 0)
        assert await set_(on, "shop/web/cart", share) == (
            "shop/web/cart is back at the declared 10%."
        )
        assert list(on.world.all(ToggleOverride)) == []


async def test_what_is_not_there_is_refused() -> None:
    async with Harness() as on:
        await declared(on, stack(service(features=FLAGS)))
        with pytest.raises(Refused, match="declares no toggle nope"):
            await set_(on, "shop/web/nope", 0)
        with pytest.raises(Refused):
            await set_(on, "shop/nope/cart", 0)
        with pytest.raises(Refused):
            await rows(on, "shop/nope")


async def test_what_reaches_all_for_long_is_stale() -> None:
    async with Harness() as on:
        await declared(on, stack(service(features=FLAGS)))
        await on.clock.advance(NOW + STALE - on.clock.now() - 1)
        assert not any(row.stale for row in (await rows(on)).values())
        await on.clock.advance(2)
        assert [name for name, row in (await rows(on)).items() if row.stale] == ["dark"]
        await set_(on, "shop/web/dark", 5_000)
        assert not (await rows(on))["dark"].stale


async def test_when_it_was_last_asked_for_on_any_node() -> None:
    async with Harness() as on:
        await declared(on, stack(service(features=FLAGS)))
        assert (await rows(on))["cart"].asked == ""
        for node, at in (("n1", NOW), ("n2", NOW + 60)):
            report = NodeReport(id=NodeId(node), asked={"shop/web/cart": at})
            on.world.apply(report, on.world.revision)
        found = await rows(on)
    assert (found["cart"].asked, found["dark"].asked) == ("2023-11-14T22:14:20Z", "")


def test_toggles_survive_being_stored() -> None:
    values: tuple[ToggleValue, ...] = (True, 3, 1.0, "x")
    features = {f"f{n}": Toggle(share=1, value=v, otherwise=v) for n, v in enumerate(values)}
    entry = TrafficEntry(stack="shop", service="web", features=features)
    again = msgspec.json.decode(msgspec.json.encode(entry), type=TrafficEntry)
    assert again == entry
    assert [type(f.value) for f in again.features.values()] == [bool, int, float, str]


async def test_where_a_toggle_with_stages_stands() -> None:
    steps = (SetWeight(weight=100), Pause(), SetWeight(weight=10_000))
    stages = {"cart": Strategy(kind=StrategyKind.STAGED, steps=steps)}
    async with Harness() as on:
        await declared(on, stack(service(features=FLAGS, stages=stages)))
        rollout = Rollout(
            id="r", target=RevisionId("100%"), source=RevisionId("0%"), step=1, waits=True,
            reason="step 2 of 3: pause until promoted", by="ann", started=NOW,
        )  # fmt: skip
        state = ToggleState(
            stack="shop", service="web/cart", stable=RevisionId("0%"), rollout=rollout,
            weights=ToggleState.reaching(100),
        )  # fmt: skip
        on.world.apply(state, on.world.revision)
        found = (await rows(on))["cart"]
        status = await StatusApi(on.tables, on.clock, unmeasured).status(
            NameRequest(name="shop"), CALLER
        )
    assert (found.share, found.declared, found.phase) == (100, 1_000, "paused")
    assert found.reason == "0% -> 100%: step 2 of 3: pause until promoted"
    assert found.steps[found.step] == "pause until promoted"
    assert found.steps == ("set_weight 1%", "pause until promoted", "set_weight 100%")
    assert found.rollout is not None
    assert found.rollout.waits_for == "person"
    assert status.stacks[0].services[0].features[0] == found


async def test_what_no_task_asks_for_while_all_agents_have_run_is_unused() -> None:
    async with Harness() as on:
        await declared(on, stack(service(features=FLAGS)))
        await on.clock.advance(NOW + UNUSED - on.clock.now() + 1)

        async def unused(*began: float) -> list[str]:
            for number, at in enumerate(began):
                asked = {"shop/web/cart": NOW + 60}
                report = NodeReport(id=NodeId(f"n{number}"), began=at, asked=asked)
                on.world.apply(report, on.world.revision)
            return sorted(name for name, row in (await rows(on)).items() if row.unused)

        everything = sorted(await rows(on))
        assert await unused() == [], "nobody has listened"
        assert await unused(NOW, 0) == [], "one does not say since when"
        assert await unused(NOW, on.clock.now() - 1) == [], "one was started again"
        assert await unused(NOW, NOW) == sorted({*everything} - {"cart"})
        await on.clock.advance(60)
        assert await unused(NOW, NOW) == everything
