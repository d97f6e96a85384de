"""The analyses loop: looks at what rollouts ask for, as often as each policy says, and commits
what is known and the newest answer.

What is asked for is `core.rollout.asked`'s to say, what is found `core.analysis`'s; this keeps what
is in the leader's memory only. Rollouts read the answers and act; nothing but `Analysis` changes
here.
"""

from collections.abc import Collection, Sequence
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
from stackd.core.model.rollout import ServiceState, ToggleState
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


Place = tuple[str, str, str]
"""Key of the `Analysis`, rollout, place of the analysis."""


def concerns(service: str, key: str) -> bool:
    """`key` is that of the service, or of a toggle of it."""
    return key == service or key.startswith(f"{service}/")


@dataclass
class Answers:
    """Newest answers of checks: place -> name -> results. Filled by `manager.checking`."""

    found: dict[Place, dict[str, list[CheckResult]]] = field(default_factory=dict)

    def put(self, place: Place, check: Check, result: CheckResult) -> None:
        """One more answer; the last few are kept until they are judged."""
        mine = self.found.setdefault(place, {}).setdefault(check.name, [])
        mine.append(result)
        del mine[: -2 * check.failures - 2]

    def of(self, place: Place) -> list[CheckResult]:
        """All that is kept of an analysis."""
        return [r for results in self.found.get(place, {}).values() for r in results]

    def keep(self, service: str, going: Collection[tuple[str, str]]) -> None:
        """Of a service and its toggles only the rollouts in `going` (key and id) have not
        ended."""
        mine = [place for place in self.found if concerns(service, place[0])]
        for place in mine:
            if place[:2] not in going:
                del self.found[place]


class Analyses:
    """For one term of a leader."""

    def __init__(self, inbox: Inbox, answers: Answers) -> None:
        self._inbox = inbox
        self._answers = answers
        self._bases: dict[Place, Counters] = {}
        """What a run's counters are beyond what this leader has counted: what was stored when it
        took over, less what it had counted when the run began."""
        self._stored: dict[tuple[str, str, str], tuple[Tried, Tried]] = {}
        """The same of both variants (service, rollout, words of the goal)."""

    def loop(self) -> ControlLoop:
        """To be run by the leader."""
        watches = (ServiceState, ToggleState, Stack, Analysis)
        return ControlLoop("analyses", watches, Keyed(concerned.services, self.decide))

    def decide(self, world: World, service: str, now: float, ids: Ids) -> Decision:
        """Look at what is due of one service and its toggles."""
        draft = Draft(now, ids)
        if world.get(ServiceState, service) is None and world.get(Analysis, service) is not None:
            draft.group([Delete(ref=ref(Analysis, service))], [ref(ServiceState, service)])
        found = asked.wanted(world, service)
        self._keep(service, {(one.key, one.rollout.id) for one in found})
        if not found:
            self._inbox.forget(service)
            return draft.decision()
        self._drop(world, service, found)
        wakes = [self._look(world, one, draft) for one in found]
        return draft.decision(earliest(*wakes))

    def _keep(self, service: str, going: Collection[tuple[str, str]]) -> None:
        """Forget what was known of other rollouts of the service and its toggles."""
        self._answers.keep(service, going)
        for known in (self._bases, self._stored):
            gone = [p for p in known if concerns(service, p[0]) and p[:2] not in going]
            for place in gone:
                del known[place]

    def _look(self, world: World, found: asked.Wanted, draft: Draft) -> float | None:
        """Look at what is due of one rollout; when the next look is."""
        known = world.get(Analysis, found.key)
        if known is None or known.rollout != found.rollout.id:
            stack, name = found.key.split("/", 1)
            known = Analysis(stack=stack, service=name, rollout=found.rollout.id)
        runs, wake_at = self._looked(world, found, known, draft.now)
        looked = replace(known, runs=runs)
        if found.variants:
            looked = replace(looked, variants=self._counted(found, known, draft.now))
            wake_at = earliest(wake_at, draft.now + COUNTED_EVERY)
        if looked != known:
            table = ServiceState if found.key == found.service else ToggleState
            draft.group([looked], [ref(table, found.key)])
        return wake_at

    def _counted(self, found: asked.Wanted, known: Analysis, now: float) -> Variants | None:
        """What both variants did, with what this leader has heard beyond what is stored; as it
        was when that is hardly older than now."""
        if known.variants is not None and now < known.variants.at + COUNTED_EVERY:
            return known.variants
        key, before = found.service, variants.going_on(known.variants, found.goal, now)
        words = found.goal.words if found.goal is not None else ""
        stable = self._inbox.tried(key, found.source, words)
        target = self._inbox.tried(key, found.canary, words)
        place = (key, found.rollout.id, words)
        if before is not known.variants:
            self._stored[place] = (Tried().minus(stable), Tried().minus(target))
        base = self._stored.setdefault(place, (before.stable, before.target))
        return variants.counted(before, (base[0].plus(stable), base[1].plus(target)), now)

    def _looked(
        self, world: World, found: asked.Wanted, known: Analysis, now: float
    ) -> tuple[dict[str, Run], float | None]:
        """The runs after this look, and when the next one is due."""
        runs = dict(known.runs)
        wake_at: float | None = None
        for at, policy in found.policies.items():
            run = runs.get(at) or self._begun(found, at, now)
            if found.share is not None and run.state.background:
                run = of_run.at_share(run, found.share, now)
            if not run.state.final and of_run.due(policy, run) <= now:
                run = of_run.looked(policy, run, self._heard(world, found, at, run), now)
            if not run.state.final:
                wake_at = earliest(wake_at, of_run.due(policy, run))
            runs[at] = run
        return runs, wake_at

    def _begun(self, found: asked.Wanted, at: str, now: float) -> Run:
        """An analysis that begins now, with what is counted from now on."""
        state = analysis.begin(found.canary, found.source, now, background=asked.background(at))
        place = (found.key, found.rollout.id, at)
        self._bases[place] = _less(_NONE, self._inbox.counters(found.service, state.canary))
        return of_run.begin(state, self._inbox.batches(found.service))

    def _heard(self, world: World, found: asked.Wanted, at: str, run: Run) -> of_run.Heard:
        stack, name = found.service.split("/", 1)
        place, state = (found.key, found.rollout.id, at), run.state
        now = self._inbox.counters(found.service, state.canary)
        base = self._bases.setdefault(place, state.counters or _NONE)
        return of_run.Heard(
            batches=self._inbox.batches(found.service),
            counters=_less(now, _less(_NONE, base)),
            checks=self._answers.of(place),
            faults=of_run.faults(world.tasks_of(stack, name), state),
            doubts=of_run.doubts(world, state.started),
        )

    def _drop(self, world: World, service: str, found: Sequence[asked.Wanted]) -> None:
        """Forget what every analysis under way has judged, as far as that is committed. Without
        any, what stable does is kept: it says how large blocks are to be."""
        known = [(one, world.get(Analysis, one.key)) for one in found]
        runs = [
            record.runs.get(at) if record and record.rollout == one.rollout.id else None
            for one, record in known
            for at in one.policies
        ]
        going = [run for run in runs if run is not None]
        if going and len(going) == len(runs):
            self._inbox.drop(service, lambda batch: all(of_run.judged(run, batch) for run in going))
