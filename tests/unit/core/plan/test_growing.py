"""What a plan says of toggles with stages."""

from stackd.core.model.ids import RevisionId
from stackd.core.model.release import Hold
from stackd.core.model.stack import ServiceSpec
from stackd.core.model.strategy import Pause, SetWeight, Strategy, StrategyKind
from stackd.core.model.toggle import Toggle
from stackd.core.plan import changes as kinds
from stackd.core.plan.make import make_plan
from tests.fakes.stacks import NOW, declare, deployed, put, service, stack


def flagged(share: int, value: bool = True) -> ServiceSpec:
    steps = (SetWeight(weight=100), Pause(), SetWeight(weight=share))
    staged = Strategy(kind=StrategyKind.STAGED, steps=steps)
    return service(
        features={"cart": Toggle(share=share, value=value, otherwise=not value)},
        stages={"cart": staged},
    )


def test_a_larger_share_is_staged() -> None:
    world = deployed(stack(flagged(500)))
    plan = make_plan(world, declare(stack(flagged(10_000))))
    grown, steps = plan.changes
    described = kinds.describe("shop", grown)
    assert described.text == "take toggle cart of shop/web from 5% to 100%"
    assert described.effect == (
        "staged: set_weight 1%, pause until promoted, set_weight 100%; no task is replaced"
    )
    assert isinstance(steps, kinds.ChangeInPlace)
    assert [field.path for field in steps.fields] == ["stages.cart.steps"]


def test_a_smaller_share_is_changed_in_place() -> None:
    world = deployed(stack(flagged(10_000)))
    [change] = make_plan(world, declare(stack(flagged(500)))).changes
    assert isinstance(change, kinds.ChangeInPlace)
    assert "features.cart.share" in {field.path for field in change.fields}


def test_a_refused_share_says_so() -> None:
    world = deployed(stack(flagged(500)))
    reason = "it failed"
    held = RevisionId("100%")
    put(world, Hold(stack="shop", service="web/cart", revision=held, reason=reason, at=NOW))
    grown = make_plan(world, declare(stack(flagged(10_000)))).changes[0]
    described = kinds.describe("shop", grown)
    assert (described.cause, described.effect) == (
        "it failed",
        "none until `stackd retry shop/web/cart`",
    )
