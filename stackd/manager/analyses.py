"""The analyses loop: looks at what rollouts ask for, as often as each policy says, and commits
what is known and the newest answer.

What is asked for is `core.rollout.asked`'s to say, what is found `core.analysis`'s; this keeps what
is in the leader's memory only. Rollouts read the answers and act; nothing but `Analysis` changes
here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from stackd.core import analysis
from stackd.core.analysis import run as of_run
from stackd.core.analysis import variants
from stackd.core.model.analysis import Analysis, Check, CheckResult, Counters, Run
from stackd.core.model.decision import Decision
from stackd.core.model.draft import Draft, Ids, earliest
from stackd.core.model.record import Delete, ref
from stackd.core.model.release import Stack
from stackd.core.model.rollout import ServiceState
from stackd.core.model.variants import Tried, Variants
from stackd.core.model.world import World
from stackd.core.rollout import asked
from stackd.manager import concerned
from stackd.manager.inbox import Inbox
from stackd.manager.keyed import Keyed
from stackd.manager.loop import ControlLoop

COUNTED_EVERY = 2.0
"""Seconds between two looks at what variants did."""

_NONE = Counters(requests=0, errors=0)


def _less(one: Counters, other: Counters) -> Counters:
    return Counters(requests=one.requests - other.requests, errors=one.errors - other.errors)


@dataclass
class Answers:
    """Newest answers of checks: (service, rollout, place) -> name -> results. Filled by
    `manager.checking`."""

    found: dict[tuple[str, str, str], dict[str, list[CheckResult]]] = field(default_factory=dict)

    def put(self, place: tuple[str, str, str], check: Check, result: CheckResult) -> None:
        """One more answer; the last few are kept until they are judged."""
        mine = self.found.setdefault(place, {}).setdefault(check.name, [])
        mine.append(result)
        del mine[: -2 * check.failures - 2]

    def of(self, place: tuple[str, str, str]) -> list[CheckResult]:
        """All that is kept of an analysis."""
        return [r for results in self.found.get(place, {}).values() for r in results]

    def forget(self, key: str, rollout: str = "") -> None:
        """Those of other rollouts of the service are over."""
        gone = [place for place in self.found if place[0] == key and place[1] != rollout]
        for place in gone:
            del self.found[place]


class Analyses:
    """For one term of a leader."""

    def __init__(self, inbox: Inbox, answers: Answers) -> None:
        self._inbox = inbox
        self._answers = answers
        self._bases: dict[tuple[str, str, str], Counters] = {}
        """What a run's counters are beyond what this leader has counted: what was stored when it
        took over, less what it had counted when the run began."""
        self._stored: dict[tuple[str, str, str], tuple[Tried, Tried]] = {}
        """The same of both variants (service, rollout, words of the goal)."""

    def loop(self) -> ControlLoop:
        """To be run by the leader."""
        watches = (ServiceState, Stack, Analysis)
        return ControlLoop("analyses", watches, Keyed(concerned.services, self.decide))

    def decide(self, world: World, key: str, now: float, ids: Ids) -> Decision:
        """Look at what is due of one service."""
        draft = Draft(now, ids)
        known = world.get(Analysis, key)
        if world.get(ServiceState, key) is None and known is not None:
            draft.group([Delete(ref=ref(Analysis, key))], [ref(ServiceState, key)])
        found = asked.wanted(world, key)
        if found is None:
            self._inbox.forget(key)
            self._answers.forget(key)
            self._bases = {place: base for place, base in self._bases.items() if place[0] != key}
            self._stored = {place: base for place, base in self._stored.items() if place[0] != key}
            return draft.decision()
        self._answers.forget(key, found.rollout.id)
        if known is None or known.rollout != found.rollout.id:
            stack, name = key.split("/", 1)
            known = Analysis(stack=stack, service=name, rollout=found.rollout.id)
        runs, wake_at = self._looked(world, key, found, known, now)
        looked = replace(known, runs=runs)
        if found.variants:
            looked = replace(looked, variants=self._counted(key, found, known, now))
            wake_at = earliest(wake_at, now + COUNTED_EVERY)
        if looked != known:
            draft.group([looked], [ref(ServiceState, key)])
        return draft.decision(wake_at)

    def _counted(
        self, key: str, found: asked.Wanted, known: Analysis, now: float
    ) -> Variants | None:
        """What both variants did, with what this leader has heard beyond what is stored; as it
        was when that is hardly older than now."""
        if known.variants is not None and now < known.variants.at + COUNTED_EVERY:
            return known.variants
        rollout, before = found.rollout, variants.going_on(known.variants, found.goal, now)
        words = found.goal.words if found.goal is not None else ""
        stable = self._inbox.tried(key, found.source, words)
        target = self._inbox.tried(key, rollout.target, words)
        place = (key, rollout.id, words)
        if before is not known.variants:
            self._stored[place] = (Tried().minus(stable), Tried().minus(target))
        base = self._stored.setdefault(place, (before.stable, before.target))
        return variants.counted(before, (base[0].plus(stable), base[1].plus(target)), now)

    def _looked(
        self, world: World, key: str, found: asked.Wanted, known: Analysis, now: float
    ) -> tuple[dict[str, Run], float | None]:
        """The runs after this look, and when the next one is due."""
        runs = dict(known.runs)
        wake_at: float | None = None
        self._drop(key, found, runs)
        for at, policy in found.policies.items():
            place = (key, found.rollout.id, at)
            run = runs.get(at) or self._begun(place, found, now)
            if not run.state.final and of_run.due(policy, run) <= now:
                run = of_run.looked(policy, run, self._heard(world, place, run), now)
            if not run.state.final:
                wake_at = earliest(wake_at, of_run.due(policy, run))
            runs[at] = run
        return runs, wake_at

    def _begun(self, place: tuple[str, str, str], found: asked.Wanted, now: float) -> Run:
        """An analysis that begins now, with what is counted from now on."""
        key, _, at = place
        state = analysis.begin(
            found.rollout.target, found.source, now, background=asked.background(at)
        )
        self._bases[place] = _less(_NONE, self._inbox.counters(key, state.canary))
        return of_run.begin(state, self._inbox.batches(key))

    def _heard(self, world: World, place: tuple[str, str, str], run: Run) -> of_run.Heard:
        key = place[0]
        stack, name = key.split("/", 1)
        state = run.state
        now = self._inbox.counters(key, state.canary)
        base = self._bases.setdefault(place, state.counters or _NONE)
        return of_run.Heard(
            batches=self._inbox.batches(key),
            counters=_less(now, _less(_NONE, base)),
            checks=self._answers.of(place),
            faults=of_run.faults(world.tasks_of(stack, name), state),
            doubts=of_run.doubts(world, state.started),
        )

    def _drop(self, key: str, found: asked.Wanted, runs: Mapping[str, Run]) -> None:
        """Forget what every analysis under way has judged, as far as that is committed. Without
        any, what stable does is kept: it says how large blocks are to be."""
        going = [runs[at] for at in found.policies if at in runs]
        if going and len(going) == len(found.policies):
            self._inbox.drop(key, lambda batch: all(of_run.judged(run, batch) for run in going))
