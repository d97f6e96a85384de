"""Plays the rollouts of a plan in virtual time: `plan --simulate`.

The deciders are those of the manager's loops; assumed are only how long tasks take to come up and
to end, that analyses pass as early as they may, and that people answer at once (`pace`, `story`).
"""

from collections.abc import Mapping, Sequence

import msgspec

from stackd.core.foresight.pace import STOP, pace
from stackd.core.foresight.story import Story, due
from stackd.core.foresight.virtual import Virtual
from stackd.core.model.analysis import (
    Analysis,
    AnalysisState,
    Estimate,
    Judgement,
    Run,
    Verdict,
)
from stackd.core.model.api.simulation import Assumed, SimulationAnswer
from stackd.core.model.ids import RevisionId, service_key
from stackd.core.model.release import Digest
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState, ToggleState
from stackd.core.model.states import TaskState
from stackd.core.model.world import World
from stackd.core.plan import records
from stackd.core.plan.changes import RefuseRevision
from stackd.core.plan.make import Plan
from stackd.core.rollout import commands, places
from stackd.core.rollout.outcome import Code, Goal, Outcome, outcome
from stackd.core.rollout.pauses import LOOKED, pause_left

MOST = 40_000
"""Looks after which the rest is not played."""
PROOF = 1_000
"""The same where a deployment waits for the answer: a second or two."""


def simulate(
    world: World, plan: Plan, digests: Sequence[Digest], infeasible: Sequence[str], now: float
) -> SimulationAnswer:
    """What would happen if the plan were applied at `now`; `world` stays as it is."""
    return Play(world, plan, now).run(plan, digests, infeasible)


def blocked(
    world: World, plan: Plan, digests: Sequence[Digest], now: float, most: int = PROOF
) -> tuple[str, ...]:
    """Why the plan's rollouts would not come to their ends; nothing when they would, or when it
    takes more than `most` looks to find out. What is on hold is declared without a rollout.
    `world` stays as it is."""
    play = Play(world, plan, now, most)
    play.run(plan, digests, ())
    held = {c.service for c in plan.changes if isinstance(c, RefuseRevision)}
    found = {name: text for name, text in play.stuck().items() if name not in held}
    return () if play.cut_short else tuple(f"played in advance, {text}" for text in found.values())


class Play:
    """One plan being played."""

    def __init__(self, world: World, plan: Plan, now: float, most: int = MOST) -> None:
        self._most = most
        self._stack = plan.stack
        self._began = now
        self._pace = pace(world, plan.stack, plan.services)
        self.virtual = Virtual(world, plan.stack, now, self._pace)
        self._story = Story(self.virtual.world, now, now)
        self.virtual.told = self._story.event
        self.virtual.moved = self._story.state
        self._done: float | None = None
        self._people = 0
        self._before = {name: self._standing(name) for name in self.virtual.services}

    def run(
        self, plan: Plan, digests: Sequence[Digest], infeasible: Sequence[str]
    ) -> SimulationAnswer:
        """Declare it, and play until nothing moves any more."""
        virtual = self.virtual
        if plan.changed:
            for changes in records.preparation(virtual.world, plan, digests):
                virtual.commit(changes)
            stamp = records.Stamp(at=virtual.now, by="simulation", event=virtual.ids())
            virtual.commit(records.release(virtual.world, plan, stamp))
        self._until_quiet()
        passed = round(virtual.now - self._began, 2)
        return SimulationAnswer(
            steps=tuple(self._story.lines),
            duration=passed if self._done is None else round(self._done - self._began, 2),
            cleared=passed,
            people=self._people,
            peaks=virtual.usage.peaks(),
            blocked=(*infeasible, *self._blocked()),
            assumed=Assumed(
                start_seconds=self._pace.starts,
                measured=tuple(sorted(self._pace.measured)),
                stop_seconds=STOP,
            ),
        )

    @property
    def cut_short(self) -> bool:
        """Not played to the end."""
        return self.virtual.looks >= self._most

    def _until_quiet(self) -> None:
        virtual = self.virtual
        while not self.cut_short:
            virtual.settle(self._most)
            if self._answered() or self._passed():
                continue
            if self._moving():
                self._done = None
            elif self._done is None:
                self._done = virtual.now
            following = None if self._quiet() else self._next()
            if following is None:
                return
            virtual.now = self._story.now = following

    def _states(self) -> list[ServiceState]:
        world, stack = self.virtual.world, self._stack
        names = [*self.virtual.services]
        names += [one for name in names for one in places.toggles(world, stack, name)]
        found = (places.state_of(world, service_key(stack, name)) for name in names)
        return [state for state in found if state is not None]

    def _answered(self) -> bool:
        """Whoever waits for a person is promoted, at once; so is who waits at a gate."""
        virtual = self.virtual
        going = [(s, s.rollout) for s in self._states() if _under_way(s) and s.rollout]
        gated = [s for s, rollout in going if rollout.gated]
        waiting = [s for s, rollout in going if rollout.waits and not rollout.gated]
        for state in waiting + gated:
            by = commands.Asked("simulation", virtual.now, virtual.ids)
            world = virtual.world
            virtual.commit(commands.promote(world, self._stack, state.service, by, full=False))
        self._people += len(waiting)
        return bool(waiting or gated)

    def _passed(self) -> bool:
        """Analyses whose time has come pass."""
        found = due(self._story.analyses, self.virtual.now)
        for name in found:
            self._story.analyses[name] = float("inf")
            self._pass(*name)
        return bool(found)

    def _pass(self, service: str, rollout: str, place: str) -> None:
        world, now = self.virtual.world, self.virtual.now
        key = service_key(self._stack, service)
        state = places.state_of(world, key)
        if state is None or state.rollout is None or state.rollout.id != rollout:
            return
        known = world.get(Analysis, key)
        runs = known.runs if known is not None and known.rollout == rollout else {}
        self.virtual.write(
            Analysis(
                stack=self._stack,
                service=service,
                rollout=rollout,
                runs={**runs, place: _well(state, state.rollout, now)},
            )
        )

    def _moving(self) -> bool:
        """Some rollout is under way, or something that is not declared is still there."""
        world, declared = self.virtual.world, self.virtual.world.release(self._stack)
        for name in self.virtual.services:
            state = world.get(ServiceState, service_key(self._stack, name))
            if declared is None or name not in declared.services:
                if state is not None or any(v.live for v in world.tasks_of(self._stack, name)):
                    return True
            elif state is None or _under_way(state) or self._waits(state):
                return True
        return any(_under_way(s) for s in self._states() if isinstance(s, ToggleState))

    def _waits(self, state: ServiceState) -> bool:
        """Its turn may still come."""
        waiting = state.rollout is not None and state.rollout.phase is RolloutPhase.WAITING
        return waiting and self._standing(state.service).code is Code.NOT_YET

    def _standing(self, service: str) -> Outcome:
        return outcome(self.virtual.world, Goal(self._stack, service), self.virtual.now)

    def _quiet(self) -> bool:
        """Nothing moves, and nothing old is left."""
        if self._done is None or any(state.warm for state in self._states()):
            return False
        tasks = self.virtual.world.tasks_of_stack(self._stack)
        return not any(view.live and not view.wanted for view in tasks)

    def _next(self) -> float | None:
        """When to look next; pauses in which nothing else moves are passed in one go."""
        following = self.virtual.upcoming()
        coming = min(self._story.analyses.values(), default=float("inf"))
        if following is None or coming < following:
            return coming if coming < float("inf") else None
        until = min(self._rest_ends(), coming)
        if until <= following or self.virtual.reporting or self._unplaced():
            return following
        self.virtual.now = until
        self.virtual.write(*(_rested(state, until) for state in self._states()))
        return until

    def _rest_ends(self) -> float:
        """The first moment at which a rollout goes on that rests now; now when one does not."""
        now, ends = self.virtual.now, [float("inf")]
        for state in self._states():
            if _under_way(state) and state.rollout is not None:
                ends.append(now + pause_left(state.rollout, now))
            if state.warm is not None:
                ends.append(now + _warm_left(state, now))
        return min(ends)

    def _unplaced(self) -> bool:
        tasks = self.virtual.world.tasks_of_stack(self._stack)
        return any(v.live and (v.status.state < TaskState.RUNNING or not v.wanted) for v in tasks)

    def stuck(self) -> Mapping[str, str]:
        """By service, what ended badly or did not end; not what stood so before."""
        found = {}
        for name in self.virtual.services:
            standing = self._standing(name)
            bad = standing.code is not Code.DONE and standing != self._before.get(name)
            if bad and self.virtual.world.declared(self._stack, name):
                found[name] = standing.text
        return found

    def _blocked(self) -> list[str]:
        cut = ["the rest was not played: it takes too many looks"] if self.cut_short else []
        return [*self.stuck().values(), *cut]


def _under_way(state: ServiceState) -> bool:
    going = (RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK)
    return state.rollout is not None and state.rollout.phase in going


def _warm_left(state: ServiceState, now: float) -> float:
    return max(0.0, state.warm_left - min(max(now - state.warm_at, 0.0), LOOKED))


def _rested(state: ServiceState, until: float) -> ServiceState:
    """The state as it is at `until` after looks every few seconds that found it at rest."""
    if state.warm is not None:
        left = max(0.0, state.warm_left - (until - state.warm_at))
        state = msgspec.structs.replace(state, warm_left=left, warm_at=until)
    rollout = state.rollout
    if rollout is not None and _under_way(state) and rollout.pause_at:
        left = max(0.0, rollout.pause_left - (until - rollout.pause_at))
        rested = msgspec.structs.replace(rollout, pause_left=left, pause_at=until)
        state = msgspec.structs.replace(state, rollout=rested)
    return state


def _well(state: ServiceState, rollout: Rollout, now: float) -> Run:
    """An analysis that has passed."""
    reason = "taken to pass"
    known = AnalysisState(
        canary=rollout.target,
        stable=state.stable or RevisionId(""),
        started=now,
        verdict=Verdict.PASS,
        final=True,
        reason=reason,
    )
    passed = Judgement(
        verdict=Verdict.PASS, final=True, reason=reason, estimate=Estimate(), readings=()
    )
    return Run(state=known, judgement=passed, at=now)
