"""Rollout groups: whatever their steps, pauses and faults, they go in step, end, and end alike."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackd.core.model.release import Hold
from stackd.core.model.rollout import RolloutPhase, ServiceState
from stackd.core.model.strategy import Amount, Pause, RolloutStep, SetScale, SetWeight, Strategy
from stackd.core.model.strategy import StrategyKind as Kind
from stackd.core.rollout import commands
from stackd.errors import Refused
from tests.fakes.agent import Behaviour
from tests.fakes.simulation import Simulation, web

pytestmark = pytest.mark.timeout(900)  # a failing example is made small before it is shown

NAMES = ("api", "db", "web")
FORWARD = (RolloutPhase.WAITING, RolloutPhase.PROGRESSING, RolloutPhase.PAUSED)


class Group(Simulation):
    """At every moment those that move are at most one step apart."""

    def check(self) -> None:
        found = [self.state(name) for name in NAMES]
        moving = [s.rollout for s in found if s and s.rollout and s.rollout.phase in FORWARD]
        steps = [r.step for r in moving if r.source is not None and not r.full]
        assert max(steps, default=0) - min(steps, default=0) <= 1, steps

    def state(self, name: str) -> ServiceState | None:
        return self.world.get(ServiceState, f"shop/{name}")


@st.composite
def steps(draw: st.DrawFn, count: int) -> tuple[RolloutStep, ...]:
    found: list[RolloutStep] = []
    weight = 0
    for _ in range(count):
        match draw(st.integers(0, 3)):
            case 0:
                weight = draw(st.integers(weight, 10_000))
                found.append(SetWeight(weight=weight))
            case 1:
                found.append(Pause(seconds=draw(st.sampled_from([0.0, 1.0, 7.0, 40.0]))))
            case 2:
                found.append(Pause())
            case _:
                found.append(SetScale(tasks=Amount(value=draw(st.integers(1, 3)))))
    return tuple(found)


@settings(max_examples=settings().max_examples // 3)
@given(st.data(), st.integers(0, 4))
def test_a_group_goes_in_step_and_ends_alike(data: st.DataObject, count: int) -> None:
    sim = Group(3)
    specs = {}
    for name in NAMES:
        strategy = Strategy(
            kind=Kind.CANARY,
            group="g",
            steps=data.draw(steps(count)),
            monitor=data.draw(st.sampled_from([0.0, 2.0])),
        )
        replicas = data.draw(st.integers(1, 3))
        specs[name] = web(name=name, replicas=replicas, strategy=strategy, rollback=strategy)
    sim.deploy("shop", {name: (spec, "a") for name, spec in specs.items()})
    sim.advance(60)
    changed = data.draw(st.sets(st.sampled_from(NAMES), min_size=1))
    for name in changed:
        fault = data.draw(st.sampled_from([None, None, 0.5, 3.0, 11.0, 33.0]))
        sim.agents.behaviours[f"{name}@b"] = Behaviour(fail_after=fault)
    sim.deploy(
        "shop", {name: (spec, "b" if name in changed else "a") for name, spec in specs.items()}
    )
    for _ in range(3 * count + 12):
        sim.advance(20)
        for name in sorted(changed):
            state = sim.state(name)
            if state and state.rollout and state.rollout.waits:
                asked = commands.Asked("ann", sim.now, sim.ids.__next__)
                try:
                    sim.commit(commands.promote(sim.world, "shop", name, asked, full=False))
                except Refused:
                    continue
    ends = {name: sim.state(name) for name in changed}
    assert all(s and s.rollout and s.rollout.phase not in FORWARD for s in ends.values()), ends
    refused = {name for name in changed if sim.world.get(Hold, f"shop/{name}/b") is not None}
    assert refused in (set(), changed), (refused, changed)
    for name in changed:
        state = ends[name]
        assert state is not None
        assert state.stable == ("a" if refused else "b")
