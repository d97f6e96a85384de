"""Whatever happens to a toggle that grows by steps: while a rollout goes forward its share only
grows, no task is touched, it goes back to what it was, every rollout ends or waits for a person and
says so, and a newer commit always gets through.
"""

from dataclasses import dataclass

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
from stackd.core.model.record import Delete, ref
from stackd.core.model.release import Hold
from stackd.core.model.rollout import Rollout, RolloutPhase, ToggleState
from stackd.core.model.stack import ServiceSpec
from stackd.core.model.strategy import (
    Analyse,
    OnFailure,
    Pause,
    RolloutStep,
    SetWeight,
    Strategy,
    StrategyKind,
)
from stackd.core.model.toggle import Toggle, ToggleOverride
from stackd.core.model.traffic import TrafficEntry
from stackd.core.rollout import asked, commands
from stackd.core.rollout.pauses import ACTIVE
from stackd.core.rollout.staged import named
from stackd.errors import Refused
from tests.fakes.simulation import Simulation, web

pytestmark = pytest.mark.timeout(900)  # a failing example is made small before it is shown

COSTLY = settings(max_examples=settings().max_examples // 3)
PLACE = "web/cart"
KEY = f"shop/{PLACE}"
SHARES = (0, 5, 2_000, 10_000)
analyses = st.builds(AnalysisPolicy, on_inconclusive=st.sampled_from(list(OnInconclusive)))
STEP_KINDS = st.one_of(
    st.builds(Analyse, policy=analyses),
    st.builds(Pause, seconds=st.sampled_from([0.0, 1.0, 12.0])),
    st.builds(SetWeight, weight=st.sampled_from([1, 500, 3_333, 10_000])),
)


@dataclass(frozen=True)
class Move:
    """What somebody does, what analyses say from now on, and how long until the next."""

    what: str
    share: int
    verdict: Verdict
    wait: float


moves = st.lists(
    st.builds(
        Move,
        what=st.sampled_from(
            ["declare", "declare", "image", "promote", "full", "abort", "pause", "resume",
             "retry", "restart", "by hand", "as declared"]
        ),
        share=st.sampled_from(SHARES),
        verdict=st.sampled_from([Verdict.PASS, *Verdict]),
        wait=st.sampled_from([0.1, 6.0, 13.0, 40.0]),
    ),
    min_size=1,
    max_size=8,
)  # fmt: skip
steps = st.lists(STEP_KINDS, min_size=1, max_size=4)
policies = st.tuples(
    steps, st.sampled_from([*OnFailure]).filter(lambda a: a is not OnFailure.CONTINUE),
    st.none() | analyses,
)  # fmt: skip
Policy = tuple[list[RolloutStep], OnFailure, AnalysisPolicy | None]


def stages(policy: Policy, share: int) -> Strategy:
    """The steps with their weights in order, and the share at the end."""
    todo, on_failure, beside = policy
    weights = sorted(s.weight for s in todo if isinstance(s, SetWeight))
    ordered = [
        SetWeight(weight=min(share, weights.pop(0))) if isinstance(s, SetWeight) else s
        for s in todo
    ]
    return Strategy(
        kind=StrategyKind.STAGED,
        steps=(*ordered, SetWeight(weight=share)),
        on_failure=on_failure,
        analysis=beside,
        progress_deadline=120,
    )


class Watched(Simulation):
    """Checks at every step."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(2)
        self.policy = policy
        self.image, self.share = "a", 0
        self.verdict = Verdict.PASS
        self.last: tuple[Rollout, int] | None = None
        self.told = 0

    @property
    def state(self) -> ToggleState:
        found = self.world.get(ToggleState, KEY)
        assert found is not None
        return found

    @property
    def given(self) -> int:
        """The share that nodes give."""
        entry = self.world.get(TrafficEntry, "shop/web")
        assert entry is not None
        return entry.features["cart"].share

    @property
    def by_hand(self) -> bool:
        return self.world.get(ToggleOverride, KEY) is not None

    def release(self) -> None:
        spec: ServiceSpec = web(
            features={"cart": Toggle(share=self.share)},
            stages={"cart": stages(self.policy, self.share)},
        )
        self.deploy("shop", {"web": (spec, self.image)})

    def _agents_report(self) -> bool:
        return self._analyses_report() or super()._agents_report()

    def _analyses_report(self) -> bool:
        state = self.world.get(ToggleState, KEY)
        if state is None or state.rollout is None:
            return False
        rollout, policy = state.rollout, stages(self.policy, self.share)
        known = self.world.get(Analysis, KEY)
        runs = dict(known.runs) if known is not None and known.rollout == rollout.id else {}
        begun = AnalysisState(canary=rollout.target, stable=rollout.target, started=self.now)
        for place in set(asked.analyses(policy, rollout)) - set(runs):
            final = not asked.background(place) or self.verdict is Verdict.FAIL
            said = Judgement(
                verdict=self.verdict, final=final, reason="seen", estimate=Estimate(), readings=()
            )
            runs[place] = Run(state=begun, judgement=said, at=self.now)
        found = Analysis(stack="shop", service=PLACE, rollout=rollout.id, runs=runs)
        if not runs or found == known:
            return False
        self.write(found)
        return True

    def check(self) -> None:
        state = self.world.get(ToggleState, KEY)
        if state is None:
            return
        assert sum(state.weights.values()) == 10_000
        rollout = state.rollout
        assert state.share >= state.former, "nobody loses what he had before"
        if rollout is None or rollout.phase not in ACTIVE:
            assert state.share == state.former
            self.last = None
            return
        if self.last is not None:
            before, share = self.last
            same = before.id == rollout.id and len(before.fell) == len(rollout.fell)
            if same and rollout.phase is not RolloutPhase.ROLLING_BACK:
                assert state.share >= share, "going forward it only grows"
        self.last = rollout, state.share

    def do(self, move: Move) -> None:
        self.verdict = move.verdict
        match move.what:
            case "declare":
                self.share = move.share
                self.release()
            case "image":
                self.image = "b" if self.image == "a" else "a"
                self.release()
            case "restart":
                self.restart_manager()
            case "by hand":
                self.write(
                    ToggleOverride(
                        stack="shop", service="web", feature="cart", share=move.share,
                        declared=self.share, by="ann", at=self.now,
                    )
                )  # fmt: skip
            case "as declared":
                if self.by_hand:
                    self.write(Delete(ref=ref(ToggleOverride, KEY)))
            case verb:
                self.ask(verb)

    def ask(self, verb: str) -> None:
        where = (self.world, "shop", PLACE, commands.Asked("ann", self.now, self.ids.__next__))
        try:
            if verb in ("promote", "full"):
                found = commands.promote(*where, full=verb == "full")
            else:
                found = getattr(commands, verb)(*where)
        except Refused:
            return
        self.commit(found)


def _played(policy: Policy, first: int, script: list[Move]) -> Watched:
    """`first`: the share that was reached in full when the script begins."""
    sim = Watched(policy)
    sim.release()
    sim.advance(20)
    assert sim.state.stable == "0%"
    for share in (first, 9_000):  # a share to go back to, and a rollout under way
        sim.share = share
        sim.release()
        sim.advance(0.1)
        if share == first:
            sim.ask("full")
            sim.advance(1)
    for move in script:
        sim.do(move)
        sim.advance(move.wait)
    return sim


@COSTLY
@given(policy=policies, first=st.sampled_from([5, 2_000]), script=moves)
def test_every_rollout_ends_or_waits_and_nodes_give_what_is_wanted(
    policy: Policy, first: int, script: list[Move]
) -> None:
    sim = _played(policy, first, script)
    sim.advance(150)
    state = sim.state
    if not sim.by_hand:
        assert sim.given == state.share
    rollout = state.rollout
    if rollout is not None and rollout.phase in ACTIVE:
        waits = rollout.waits or rollout.stands or rollout.phase is RolloutPhase.PAUSED
        background = sim.verdict is Verdict.INCONCLUSIVE
        assert waits or background, rollout
        assert rollout.reason
    else:
        assert state.stable == named(state.share)
        held = sim.world.get(Hold, f"{KEY}/{named(sim.share)}") is not None
        assert held or state.share == sim.share
    assert sim.conflicts == 0


@COSTLY
@given(policy=policies, first=st.sampled_from([5, 2_000]), script=moves)
def test_a_failure_goes_back_and_a_newer_commit_gets_through(
    policy: Policy, first: int, script: list[Move]
) -> None:
    sim = _played(policy, first, script)
    former = sim.state.former
    sim.ask("abort")
    sim.advance(1)
    rollout = sim.state.rollout
    if rollout is not None and rollout.reason == "aborted by ann":
        assert rollout.phase is RolloutPhase.ABORTED
        assert sim.state.share == sim.state.former == former
    sim.verdict, sim.share = Verdict.PASS, 7_777
    sim.release()
    sim.advance(30)
    for _ in range(2 * len(policy[0]) + 2):
        if sim.state.stable != "77.77%":
            sim.ask("promote")
            sim.advance(15)
    assert sim.state.stable == "77.77%", sim.state.rollout
    assert sim.given == 7_777
    tasks = [view for view in sim.world.tasks_of("shop", "web") if view.live]
    assert {view.task.revision for view in tasks} == {sim.image}
