"""The manager is killed at every boundary of a rollout, just before or just after what it decided
is written, and a new one begins each time: the rollout goes on from the step that is recorded, does
all that it does undisturbed, in the same order and never earlier."""

from dataclasses import dataclass

import pytest

from stackd.core.model.analysis import AnalysisPolicy, Verdict
from stackd.core.model.record import Changes, Put
from stackd.core.model.rollout import RolloutPhase, ServiceState
from stackd.core.model.strategy import (
    Amount,
    Analyse,
    Matcher,
    OnFailure,
    Pause,
    Preview,
    SetMatch,
    SetMirror,
    SetScale,
    SetWeight,
    Strategy,
    StrategyKind,
)
from tests.fakes.simulation import web
from tests.properties.test_weighted import Watched

GROUP = Matcher(header="x-group", exact="b")
JUDGED = AnalysisPolicy()
CANARY = Strategy(
    kind=StrategyKind.CANARY,
    steps=(
        SetWeight(weight=500),
        Pause(seconds=12),
        SetScale(tasks=Amount(value=2)),
        SetMatch(any_of=(GROUP,)),
        SetMirror(share=1_000),
        Analyse(policy=JUDGED),
        SetWeight(weight=5_000),
        Pause(),
    ),
    analysis=JUDGED,
)
STEPPING_BACK = Strategy(
    kind=StrategyKind.CANARY,
    steps=(SetWeight(weight=500), SetWeight(weight=5_000), Analyse(policy=JUDGED)),
    on_failure=OnFailure.STEP_BACK,
)
BLUE_GREEN = Strategy(
    kind=StrategyKind.BLUE_GREEN,
    preview=Preview(published=8081),
    auto_promote=False,
    pre_promotion=JUDGED,
    post_promotion=JUDGED,
)
SHADOW = Strategy(kind=StrategyKind.SHADOW, duration=20, analysis=JUDGED)
AB = Strategy(kind=StrategyKind.AB, split=2_000, match=(GROUP,), analysis=JUDGED)
ROLLING = Strategy(kind=StrategyKind.ROLLING)
RECREATE = Strategy(
    kind=StrategyKind.RECREATE, max_surge=Amount(value=0), max_unavailable=Amount(value=100)
)
POLICIES = (CANARY, STEPPING_BACK, BLUE_GREEN, SHADOW, AB, ROLLING, RECREATE)
NAMES = ("canary", "step back", "blue-green", "shadow", "ab", "rolling", "recreate")


class _Killed(Exception):
    """The manager is gone; what it would still have written it does not write."""


class Killed(Watched):
    """Kills the manager at each boundary of the rollout of shop/web, once before and once after
    the state is written, as far as it is told to."""

    def __init__(self, before: bool, after: bool) -> None:
        super().__init__(3)
        self.before, self.after = before, after
        self.kills = 0
        self._leads = False
        self._tried: set[tuple[object, ...]] = set()

    def settle(self) -> None:
        while True:
            self._leads = True
            try:
                return super().settle()
            except _Killed:
                self.kills += 1
                self.restart_manager()
            finally:
                self._leads = False

    def commit(self, changes: Changes) -> None:
        states = [
            c.record
            for c in changes.changes
            if isinstance(c, Put) and isinstance(c.record, ServiceState)
        ]
        boundary = states and self._leads and self.proven
        if boundary and self.before and _place(states[0]) not in self._tried:
            self._tried.add(_place(states[0]))
            raise _Killed
        super().commit(changes)
        if boundary and self.after:
            raise _Killed


def _place(state: ServiceState) -> tuple[object, ...]:
    """Where a rollout is, whatever its clocks say."""
    rollout = state.rollout
    counts, weights = tuple(state.counts.items()), tuple(state.weights.items())
    if rollout is None:
        return counts, weights
    at = (rollout.phase, rollout.step, rollout.waits, rollout.judges, rollout.pause_at > 0)
    return *at, rollout.updated, counts, weights, state.warm


@dataclass(frozen=True)
class Told:
    """What a rollout did, when, and how it ended."""

    events: list[tuple[str, str]]
    times: list[float]
    phase: RolloutPhase
    stable: str | None
    tasks: set[str]
    kills: int


def _played(policy: Strategy, verdict: Verdict, *, before: bool, after: bool) -> Told:
    sim = Killed(before, after)
    spec = web(replicas=3, strategy=policy, rollback=policy)
    sim.deploy("shop", {"web": (spec, "a")})
    sim.advance(20)
    sim.proven = True
    if not policy.kind.weighted:
        sim.scaled = True  # fewer of stable are ready: that is what these are for
    if policy.kind is StrategyKind.RECREATE:
        sim.check = lambda: None  # type: ignore[method-assign]  # there nobody serves for a while
    sim.verdicts["b"] = (verdict, 7.0)
    begun, last = sim.now, sim.events()[-1].id
    sim.deploy("shop", {"web": (spec, "b")})
    for _ in range(12):
        sim.advance(25)
        if _state(sim).rollout.waits:  # type: ignore[union-attr]
            sim.ask("promote")
    state = _state(sim)
    assert state.rollout is not None
    events = [e for e in sim.events(last) if e.kind.startswith("rollout.")]
    return Told(
        events=[(e.kind, e.text) for e in events],
        times=[e.at - begun for e in events],
        phase=state.rollout.phase,
        stable=state.stable,
        tasks={v.task.revision for v in sim.world.tasks_of("shop", "web") if v.live},
        kills=sim.kills,
    )


def _state(sim: Watched) -> ServiceState:
    found = sim.world.get(ServiceState, "shop/web")
    assert found is not None
    return found


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.FAIL], ids=["passes", "fails"])
@pytest.mark.parametrize("policy", POLICIES, ids=NAMES)
def test_the_rollout_goes_on_from_the_recorded_step(policy: Strategy, verdict: Verdict) -> None:
    alone = _played(policy, verdict, before=False, after=False)
    judged = policy.kind.weighted and verdict is Verdict.FAIL
    assert alone.phase is (RolloutPhase.ABORTED if judged else RolloutPhase.COMPLETE)
    assert alone.stable == ("a" if judged else "b")
    for before, after in ((True, False), (False, True), (True, True)):
        killed = _played(policy, verdict, before=before, after=after)
        assert killed.kills >= 3
        assert killed.events == alone.events
        late = zip(killed.times, alone.times, strict=True)
        assert all(at >= then - 0.01 for at, then in late), (killed.times, alone.times)
        assert killed.phase is alone.phase
        assert (killed.stable, killed.tasks) == (alone.stable, alone.tasks)
