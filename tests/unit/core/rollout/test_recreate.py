"""Old tasks end before new ones come."""

from stackd.core.rollout import recreate
from stackd.core.rollout.common import Tally
from tests.unit.core.rollout.cases import NOW, observed, pace, rollout, up


def test_old_tasks_go_first() -> None:
    seen = observed(2, {"a": 2}, a=up(2))
    assert recreate.step(pace(), rollout(), seen, NOW).counts == {}


def test_nothing_comes_while_one_still_ends() -> None:
    step = recreate.step(pace(), rollout(), observed(2, {}, a=Tally(live=1)), NOW)
    assert step.counts == {}
    assert step.reason == "1 old task has still to end"


def test_then_all_new_ones_come_at_once() -> None:
    assert recreate.step(pace(), rollout(), observed(2, {}), NOW).counts == {"b": 2}
