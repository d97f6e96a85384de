"""How a service is observed."""

import pytest

from stackd.core.model.rollout import ServiceState
from stackd.core.model.stack import Amount, RestartCondition, RestartPolicy, Strategy
from stackd.core.rollout.common import limits, observe
from tests.fakes.agent import Behaviour
from tests.fakes.simulation import Simulation, web
from tests.unit.core.rollout.cases import observed, up


@pytest.mark.parametrize(
    ("surge", "unavailable", "total", "expected"),
    [
        (Amount(value=1), Amount(value=0), 3, (1, 0)),
        (Amount(value=0), Amount(value=0), 3, (0, 1)),
        (Amount(value=25, percent=True), Amount(value=25, percent=True), 10, (3, 2)),
        (Amount(value=0), Amount(value=10, percent=True), 3, (0, 1)),
        (Amount(value=0), Amount(value=5), 3, (0, 3)),
    ],
)
def test_limits(surge: Amount, unavailable: Amount, total: int, expected: tuple[int, int]) -> None:
    assert limits(Strategy(max_surge=surge, max_unavailable=unavailable), total) == expected


def test_available_is_ready_for_the_monitor_time() -> None:
    sim = Simulation(2)
    sim.deploy("shop", {"web": (web(replicas=2), "a")})
    sim.advance(3)
    state = sim.world.get(ServiceState, "shop/web")
    assert state is not None
    tally = observe(sim.world, "shop", web(replicas=2), state, "a", sim.now).tally("a")
    assert (tally.live, tally.wanted, tally.ready, tally.available) == (2, 2, 2, 0)
    assert tally.next_available is not None
    later = observe(sim.world, "shop", web(replicas=2), state, "a", tally.next_available)
    assert later.tally("a").available == 2


def test_a_task_that_has_done_its_work_counts_as_in_place() -> None:
    sim = Simulation(1)
    spec = web(restart=RestartPolicy(condition=RestartCondition.ON_FAILURE))
    sim.agents.behaviours["web"] = Behaviour(fail_after=1, exit_code=0)
    sim.deploy("shop", {"web": (spec, "a")})
    sim.advance(30)
    state = sim.world.get(ServiceState, "shop/web")
    assert state is not None
    assert state.stable == "a"
    assert sim.live("shop", "web") == 0


def test_complete_needs_all_new_tasks_and_no_old_ones() -> None:
    assert observed(2, {"b": 2}, b=up(2)).complete
    assert not observed(2, {"b": 2}, b=up(2, 1)).complete
    assert not observed(2, {"b": 2}, b=up(2), a=up(1)).complete
    assert observed(0, {}).complete
