"""Whatever happens to a rollout with two revisions side by side: what it promises holds at each
step, whatever analyses say.

Stable stays whole until the new revision is proven: the ready tasks of what gets traffic never fall
below what is wanted. Weights sum to 10000 and never go to a revision that no node knows as ready
when another could serve; requests are steered only to a revision that has tasks. Live tasks never
exceed twice the replicas. Every rollout ends, or waits for a person and says so; a newer commit
always gets through.
"""

from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackd.core.model.analysis import (
    Analysis,
    AnalysisPolicy,
    AnalysisState,
    Estimate,
    Judgement,
    OnInconclusive,
    Run,
    Verdict,
)
from stackd.core.model.release import Hold, Override
from stackd.core.model.rollout import RolloutPhase, ServiceState
from stackd.core.model.strategy import (
    Amount,
    Analyse,
    Matcher,
    OnFailure,
    Pause,
    Preview,
    RolloutStep,
    SetMatch,
    SetMirror,
    SetScale,
    SetWeight,
    Strategy,
    StrategyKind,
)
from stackd.core.model.traffic import Steering, TrafficEntry
from stackd.core.rollout import asked, commands
from stackd.core.rollout.pauses import ACTIVE
from stackd.core.traffic import effective
from stackd.errors import Refused
from tests.fakes.agent import Behaviour
from tests.fakes.simulation import Simulation, web

pytestmark = pytest.mark.timeout(900)  # a failing example is made small before it is shown

COSTLY = settings(max_examples=settings().max_examples // 3)
GOOD = Behaviour()
GROUP = Matcher(header="x-group", exact="b")
analyses = st.builds(AnalysisPolicy, on_inconclusive=st.sampled_from(list(OnInconclusive)))
STEP_KINDS = st.one_of(
    st.builds(Analyse, policy=analyses),
    st.builds(SetMatch, any_of=st.sampled_from([(), (GROUP,)])),
    st.builds(SetMirror, share=st.sampled_from([0, 5_000])),
    st.builds(Pause, seconds=st.sampled_from([0.0, 1.0, 12.0])),
    st.builds(
        SetScale,
        tasks=st.builds(Amount, value=st.sampled_from([1, 3, 100]), percent=st.booleans()),
    ),
    st.builds(SetWeight, weight=st.sampled_from([0, 1, 500, 3_333, 10_000])),
)


def _upward(steps: list[RolloutStep]) -> tuple[RolloutStep, ...]:
    """The steps with their weights in order."""
    weights = sorted(s.weight for s in steps if isinstance(s, SetWeight))
    return tuple(
        SetWeight(weight=weights.pop(0)) if isinstance(step, SetWeight) else step for step in steps
    )


policies = st.builds(
    Strategy,
    kind=st.sampled_from(
        [
            StrategyKind.CANARY,
            StrategyKind.CANARY,
            StrategyKind.BLUE_GREEN,
            StrategyKind.SHADOW,
            StrategyKind.AB,
        ]
    ),
    steps=st.lists(STEP_KINDS, min_size=1, max_size=4).map(_upward),
    auto_promote=st.booleans(),
    auto_promote_after=st.sampled_from([0.0, 5.0]),
    scale_down_delay=st.sampled_from([0.0, 8.0, 30.0]),
    monitor=st.sampled_from([0.0, 5.0]),
    on_failure=st.sampled_from([OnFailure.ROLLBACK, OnFailure.PAUSE, OnFailure.STEP_BACK]),
    analysis=st.none() | analyses,
    pre_promotion=st.none() | analyses,
    post_promotion=st.none() | analyses,
    preview=st.sampled_from([None, Preview(published=8081)]),
    mirror=st.sampled_from([100, 10_000]),
    duration=st.sampled_from([12.0, 60.0]),
    match=st.sampled_from([(), (GROUP,)]),
    split=st.sampled_from([1, 2_000, 10_000]),
    progress_deadline=st.just(120.0),
)


@dataclass(frozen=True)
class Move:
    """What somebody does, and how long until the next."""

    what: str
    behaviour: Behaviour
    verdict: Verdict
    """What every analysis says of the revision, when it has looked for `takes` seconds."""
    takes: float
    wait: float


moves = st.lists(
    st.builds(
        Move,
        what=st.sampled_from(
            ["b", "b", "c", "a", "promote", "full", "abort", "pause", "resume", "rollback",
             "retry", "restart", "scale", "declared"]
        ),
        behaviour=st.sampled_from(
            [GOOD, GOOD, GOOD, Behaviour(start=7), Behaviour(fail_after=0.2),
             Behaviour(start=float("inf")), Behaviour(reject="no image"), Behaviour(accepts=False)]
        ),
        verdict=st.sampled_from([Verdict.PASS, *Verdict]),
        takes=st.sampled_from([0.0, 7.0, 300.0]),
        wait=st.sampled_from([0.1, 0.6, 6.0, 13.0, 40.0]),
    ),
    min_size=1,
    max_size=7,
)  # fmt: skip


class Watched(Simulation):
    """Checks at every step."""

    def __init__(self, replicas: int) -> None:
        super().__init__(3)
        self.replicas = replicas
        self.proven = False
        self.scaled = False
        self.verdicts: dict[str, tuple[Verdict, float]] = {}
        self.asked: dict[tuple[str, str], float] = {}

    def _agents_report(self) -> bool:
        return self._analyses_report() or super()._agents_report()

    def _analyses_report(self) -> bool:
        """The answers that are due, as the loop that looks gives them."""
        state = self.world.get(ServiceState, "shop/web")
        spec = self.world.declared("shop", "web")
        if state is None or spec is None or state.rollout is None or state.rollout.source is None:
            return False
        rollout = state.rollout
        known = self.world.get(Analysis, state.key)
        runs = dict(known.runs) if known is not None and known.rollout == rollout.id else {}
        verdict, takes = self.verdicts.get(rollout.target, (Verdict.PASS, 0.0))
        due = [
            place
            for place in asked.analyses(spec.strategy, rollout)
            if self.asked.setdefault((rollout.id, place), self.now) + takes <= self.now
        ]
        begun = AnalysisState(canary=rollout.target, stable=state.rollout.source, started=self.now)
        for place in set(due) - set(runs):
            final = not asked.background(place) or verdict is Verdict.FAIL
            said = Judgement(
                verdict=verdict, final=final, reason="seen", estimate=Estimate(), readings=()
            )
            runs[place] = Run(state=begun, judgement=said, at=self.now)
        found = Analysis(stack="shop", service="web", rollout=rollout.id, runs=runs)
        if not runs or found == known:
            return False
        self.write(found)
        return True

    def check(self) -> None:
        views = self.world.tasks_of("shop", "web")
        state = self.world.get(ServiceState, "shop/web")
        entry = self.world.get(TrafficEntry, "shop/web")
        if not self.proven or state is None or entry is None:
            return
        assert sum(entry.weights.values()) in (0, 10_000)
        assert sum(state.weights.values()) in (0, 10_000)
        assert sum(effective.weights(entry).values()) == 10_000, "nobody serves"
        to = state.steering
        for revision in {to.matched, to.mirrored, to.previewed, *to.order} - {""}:
            assert state.counts.get(revision, 0) > 0, f"{revision} has no tasks"
        if self.scaled:
            return
        whole = sum(v.ready and v.task.revision == state.stable for v in views)
        assert whole == self.replicas, f"{whole} of stable are ready"
        assert sum(v.live for v in views) <= 2 * self.replicas

    def do(self, move: Move, spec: object) -> None:
        if move.what in ("a", "b", "c"):
            name = f"web@{move.what}"
            if move.what != "a":
                self.agents.behaviours.setdefault(name, move.behaviour)
                self.verdicts.setdefault(move.what, (move.verdict, move.takes))
            self.deploy("shop", {"web": (spec, move.what)})  # type: ignore[dict-item]
        elif move.what == "restart":
            self.restart_manager()
        elif move.what in ("scale", "declared"):
            self.scaled = True
            count = self.replicas if move.what == "declared" else self.replicas + 2
            self.write(
                Override(
                    stack="shop", service="web", replicas=count, declared=self.replicas,
                    by="ann", at=self.now,
                )
            )  # fmt: skip
        else:
            self.ask(move.what)

    def ask(self, verb: str) -> None:
        asked = commands.Asked("ann", self.now, self.ids.__next__)
        where = (self.world, "shop", "web", asked)
        try:
            match verb:
                case "promote" | "full":
                    found = commands.promote(*where, full=verb == "full")
                case "rollback":
                    found = commands.rollback(*where)
                case _:
                    found = getattr(commands, verb)(*where)
        except Refused:
            return
        self.commit(found)


def _started(policy: Strategy, replicas: int) -> tuple[Watched, object]:
    if policy.kind is not StrategyKind.CANARY and policy.on_failure is OnFailure.STEP_BACK:
        policy = msgspec.structs.replace(policy, on_failure=OnFailure.ROLLBACK)
    spec = web(
        replicas=replicas,
        strategy=policy,
        rollback=msgspec.structs.replace(policy, on_failure=OnFailure.PAUSE),
    )
    sim = Watched(replicas)
    sim.deploy("shop", {"web": (spec, "a")})
    sim.advance(20)
    assert sim.ready("shop", "web") == replicas
    sim.proven = True
    return sim, spec


def _state(sim: Simulation) -> ServiceState:
    found = sim.world.get(ServiceState, "shop/web")
    assert found is not None
    return found


@COSTLY
@given(policy=policies, replicas=st.integers(1, 5), script=moves)
def test_stable_stays_whole_and_every_rollout_ends_or_waits(
    policy: Strategy, replicas: int, script: list[Move]
) -> None:
    sim, spec = _started(policy, replicas)
    for move in script:
        sim.do(move, spec)
        sim.advance(move.wait)
    sim.advance(1_500)
    state = _state(sim)
    assert state.rollout is not None
    rollout = state.rollout
    waits = rollout.waits or rollout.phase is RolloutPhase.PAUSED
    assert rollout.phase not in ACTIVE or waits, rollout
    assert rollout.phase is RolloutPhase.COMPLETE or rollout.reason
    assert sim.conflicts == 0
    if not waits:
        assert state.weights == {}
        assert state.steering == Steering()
        assert state.warm is None
        assert set(state.counts) == {state.stable}


@COSTLY
@given(policy=policies, replicas=st.integers(1, 4), script=moves)
def test_a_newer_commit_always_gets_through(
    policy: Strategy, replicas: int, script: list[Move]
) -> None:
    sim, spec = _started(policy, replicas)
    for move in script:
        sim.do(move, spec)
        sim.advance(move.wait)
    sim.deploy("shop", {"web": (spec, "z")})  # type: ignore[dict-item]
    sim.advance(200)
    for _ in range(2 * len(policy.steps) + 2):
        if _state(sim).stable != "z":
            sim.ask("promote")
            sim.advance(60)
    state = _state(sim)
    assert state.stable == "z", state.rollout
    assert sim.world.get(Hold, "shop/web/z") is None
    sim.advance(100)
    assert {v.task.revision for v in sim.world.tasks_of("shop", "web") if v.live} == {"z"}
