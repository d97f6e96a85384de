"""Whatever is deployed, fails, is scaled or restarted: what rollouts promise holds at each step.

I5: ready tasks never fall below replicas - max_unavailable because of a rollout.
Live tasks never exceed replicas + max_surge while nothing else happens; weights sum to 10000.
Every rollout ends, or waits for a person and says so. At rest, what runs is what is counted.
"""

from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackd.core.model.rollout import RolloutPhase, ServiceState
from stackd.core.model.stack import RestartPolicy
from stackd.core.model.states import TaskState
from stackd.core.model.strategy import Amount, OnFailure, Strategy, StrategyKind
from stackd.core.model.task import TaskStatus
from stackd.core.model.traffic import TrafficEntry
from stackd.core.rollout.pauses import ACTIVE
from tests.fakes.agent import Behaviour
from tests.fakes.simulation import Simulation, web

pytestmark = pytest.mark.timeout(900)  # a failing example is made small before it is shown

COSTLY = settings(max_examples=settings().max_examples // 3)
GOOD = Behaviour()


@dataclass(frozen=True)
class Move:
    """A release, how its tasks behave, and how long until the next one."""

    revision: str
    behaviour: Behaviour
    wait: float
    restart_manager: bool


behaviours = st.sampled_from(
    [
        GOOD,
        GOOD,
        Behaviour(start=7),
        Behaviour(fail_after=0.2),
        Behaviour(fail_after=3),
        Behaviour(start=float("inf")),
        Behaviour(reject="there is no such image"),
        Behaviour(accepts=False),
        Behaviour(exit_code=0, fail_after=1),
    ]
)
moves = st.lists(
    st.builds(
        Move,
        revision=st.sampled_from(["b", "c", "d"]),
        behaviour=behaviours,
        wait=st.sampled_from([0.1, 2.0, 6.0, 13.0, 40.0]),
        restart_manager=st.booleans(),
    ),
    min_size=1,
    max_size=4,
)
policies = st.builds(
    Strategy,
    kind=st.sampled_from([StrategyKind.ROLLING, StrategyKind.ROLLING, StrategyKind.RECREATE]),
    max_surge=st.sampled_from([Amount(value=n) for n in (0, 1, 2)]),
    max_unavailable=st.sampled_from(
        [Amount(value=0), Amount(value=1), Amount(value=34, percent=True)]
    ),
    parallelism=st.sampled_from([0, 1, 2]),
    delay=st.sampled_from([0.0, 3.0]),
    monitor=st.sampled_from([0.0, 5.0]),
    max_failure_ratio=st.sampled_from([0.0, 0.5]),
    on_failure=st.sampled_from(list(OnFailure)),
    progress_deadline=st.just(120.0),
)


class Watched(Simulation):
    """Checks at every step. `floor`: ready tasks that must be there now."""

    def __init__(self) -> None:
        super().__init__(3)
        self.floor = 0
        self.ceiling = 1_000
        self.states: dict[str, TaskState] = {}

    def check(self) -> None:
        ready = sum(v.ready for v in self.world.tasks_of("shop", "web"))
        assert ready >= self.floor, f"{ready} ready, {self.floor} promised"
        assert self.live("shop", "web") <= self.ceiling
        for entry in self.world.all(TrafficEntry):
            assert sum(entry.weights.values()) in (0, 10_000)
        for status in self.world.all(TaskStatus):
            assert status.state >= self.states.get(status.id, TaskState.NEW), "a step backwards"
            self.states[status.id] = status.state


def _run(sim: Watched, policy: Strategy, replicas: int, script: list[Move]) -> None:
    spec = web(
        replicas=replicas,
        strategy=policy,
        rollback=msgspec.structs.replace(policy, on_failure=OnFailure.PAUSE),
        restart=RestartPolicy(),
    )
    sim.deploy("shop", {"web": (spec, "a")})
    sim.advance(20)
    assert sim.ready("shop", "web") == replicas
    surge, unavailable = policy.limits(replicas)
    stays = policy.kind is StrategyKind.ROLLING and all(
        m.behaviour.fail_after is None or m.behaviour.fail_after < 1 for m in script
    )
    sim.floor = replicas - unavailable if stays else 0
    sim.ceiling = replicas + surge if policy.kind is StrategyKind.ROLLING else replicas
    for move in script:
        acts = sim.agents.behaviours.get(f"web@{move.revision}", move.behaviour)
        sim.agents.behaviours[f"web@{move.revision}"] = acts
        sim.deploy("shop", {"web": (spec, move.revision)})
        sim.advance(move.wait)
        if move.restart_manager:
            sim.restart_manager()


@COSTLY
@given(policy=policies, replicas=st.integers(1, 5), script=moves)
def test_safe_at_every_step_and_every_rollout_ends(
    policy: Strategy, replicas: int, script: list[Move]
) -> None:
    sim = Watched()
    _run(sim, policy, replicas, script)
    sim.advance(2_000)
    state = sim.world.get(ServiceState, "shop/web")
    assert state is not None
    assert state.rollout is not None
    rollout = state.rollout
    assert rollout.phase not in ACTIVE or rollout.phase is RolloutPhase.PAUSED, rollout
    assert rollout.phase is RolloutPhase.COMPLETE or rollout.reason
    assert sim.conflicts == 0
    if rollout.phase is RolloutPhase.ABORTED:
        assert state.counts == {state.stable: replicas}
    good = sim.agents.behaviours.get(f"web@{state.stable}", GOOD).fail_after is None
    if rollout.phase is not RolloutPhase.PAUSED and good:
        assert sim.ready("shop", "web") == replicas


@COSTLY
@given(policy=policies, counts=st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_scaling_during_a_rollout_ends_at_the_last_count(
    policy: Strategy, counts: list[int]
) -> None:
    sim = Watched()
    sim.deploy("shop", {"web": (web(replicas=3, strategy=policy, rollback=policy), "a")})
    sim.advance(20)
    for count in counts:
        spec = web(replicas=count, strategy=policy, rollback=policy)
        sim.deploy("shop", {"web": (spec, "b")})
        sim.advance(4)
    sim.advance(400)
    views = [v for v in sim.world.tasks_of("shop", "web") if v.live]
    assert sorted(v.task.slot for v in views) == [str(n + 1) for n in range(counts[-1])]
    assert {v.task.revision for v in views} <= {"b"}


@COSTLY
@given(policy=policies, replicas=st.integers(1, 4), script=moves)
def test_a_removed_stack_leaves_nothing(
    policy: Strategy, replicas: int, script: list[Move]
) -> None:
    sim = Watched()
    _run(sim, policy, replicas, script)
    sim.floor = 0
    sim.remove("shop")
    sim.advance(200)
    left = {place.table for place in sim.world.places()}
    assert left <= {"nodes", "node_status", "mem_reports", "events"}
