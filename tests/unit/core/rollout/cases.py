"""Observations and rollouts for tests of strategies, and a service that something is asked of."""

import msgspec

from stackd.core.model.analysis import Estimate, Judgement, Verdict
from stackd.core.model.ids import RevisionId
from stackd.core.model.release import Revision
from stackd.core.model.rollout import Rollout
from stackd.core.model.strategy import Amount, Strategy
from stackd.core.model.world import World
from stackd.core.rollout.commands import Asked
from stackd.core.rollout.common import Observed, Tally
from tests.fakes.simulation import Simulation, web

NOW = 1_000.0


def up(count: int, available: int | None = None) -> Tally:
    """`count` ready tasks, of which all or `available` have been so for long enough."""
    here = count if available is None else available
    return Tally(
        live=count,
        wanted=count,
        running=count,
        ready=count,
        available=here,
        next_available=None if here == count else NOW + 4,
    )


def down(count: int) -> Tally:
    """`count` live tasks that are not ready."""
    return Tally(live=count, wanted=count)


def observed(wanted: int, counts: dict[str, int], **tallies: Tally) -> Observed:
    """Revision `b` is the target, `a` is stable."""
    return Observed(target="b", stable="a", wanted=wanted, counts=counts, tallies=tallies)


def rollout(**fields: object) -> Rollout:
    """A rollout to `b` that began now."""
    base = {"id": "r1", "target": RevisionId("b"), "started": NOW, "moved": NOW}
    return Rollout(**{**base, **fields})  # type: ignore[arg-type]


def pace(surge: int = 1, unavailable: int = 0, **fields: object) -> Strategy:
    """A rolling strategy."""
    amounts = {"max_surge": Amount(value=surge), "max_unavailable": Amount(value=unavailable)}
    return Strategy(**{**amounts, **fields})  # type: ignore[arg-type]


def said(verdict: Verdict, reason: str = "", *, final: bool = True) -> Judgement:
    """The answer of one look of an analysis."""
    return Judgement(verdict=verdict, final=final, reason=reason, estimate=Estimate(), readings=())


def settled() -> tuple[Simulation, Asked]:
    """shop/web runs revision `a`; and who asks something of it."""
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(), "a")})
    sim.advance(20)
    return sim, Asked("ann", sim.now, sim.ids.__next__)


def renewed(world: World, revision: Revision) -> tuple[Revision, tuple[str, ...]]:
    """Revision `a` cannot come back as it was."""
    if revision.id != "a":
        return revision, ()
    return msgspec.structs.replace(revision, id=RevisionId("a2")), ("a2 instead of a",)
