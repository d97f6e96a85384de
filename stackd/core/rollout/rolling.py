"""Rolling: new tasks come as old ones go, within `max_surge` and `max_unavailable`.

Start-first is surge without unavailability, stop-first the other way round. Live tasks, also those
that are draining, never exceed wanted + surge. Old tasks that are ready go only while those left
ready are at least wanted - unavailable; a new task counts once it has been ready for `monitor`.
"""

import msgspec

from stackd.core.model.draft import earliest
from stackd.core.model.rollout import Rollout
from stackd.core.model.strategy import Strategy
from stackd.core.rollout.common import Observed, Step

_UNLIMITED = 1_000_000


def step(policy: Strategy, state: Rollout, observed: Observed, now: float) -> Step:
    """The next counts of a rolling change to `observed.target`."""
    new = observed.tally(observed.target)
    arrived = new.available > state.updated >= 0
    if arrived and policy.delay and not observed.complete:
        state = msgspec.structs.replace(state, paused_until=now + policy.delay)
    state = msgspec.structs.replace(state, updated=new.available)
    begin = _may_begin(policy, state, observed, now)
    counts = _less(policy, observed, begin)
    counts[observed.target] = _more(policy, observed, counts, begin)
    wakes = (new.next_available, state.paused_until if state.paused_until > now else None)
    reason = f"{new.available} of {observed.wanted} tasks updated"
    if state.paused_until > now:
        reason += f", the next after a delay of {policy.delay:g} s"
    counts = {r: n for r, n in counts.items() if n}
    return Step(state, counts, earliest(*wakes), reason, done=observed.complete)


def _may_begin(policy: Strategy, state: Rollout, observed: Observed, now: float) -> int:
    """Slots whose replacement may begin now, by `delay` and `parallelism`."""
    if state.paused_until > now:
        return 0
    if not policy.parallelism:
        return _UNLIMITED
    target = observed.target
    under_way = observed.counts.get(target, 0) - observed.tally(target).available
    return max(0, policy.parallelism - max(0, under_way))


def _less(policy: Strategy, observed: Observed, begin: int) -> dict[str, int]:
    """Counts with old tasks taken away: broken ones freely, ready ones as far as enough stay."""
    target, wanted = observed.target, observed.wanted
    _, unavailable = policy.limits(wanted)
    counts = dict(observed.counts)
    counts[target] = min(counts.get(target, 0), wanted)
    left = {r: min(observed.tally(r).ready, counts.get(r, 0)) for r in observed.revisions}
    sure = min(observed.tally(target).available, counts[target]) + sum(left.values())
    spare = sure - (wanted - unavailable)
    removable = sum(counts.values()) - (wanted - min(begin, wanted))
    for revision in observed.revisions:
        count = counts.get(revision, 0)
        broken = min(count - left[revision], max(0, removable))
        whole = min(left[revision], max(0, spare), max(0, removable - broken))
        counts[revision] = count - broken - whole
        spare -= whole
        removable -= broken + whole
    return counts


def _more(policy: Strategy, observed: Observed, counts: dict[str, int], begin: int) -> int:
    """The target's count: holes are filled at once, more only as far as surge and pace allow."""
    target, wanted = observed.target, observed.wanted
    surge, _ = policy.limits(wanted)
    existing = sum(observed.existing(r) for r in {*observed.revisions, target})
    room = wanted + surge - existing
    holes = max(0, wanted - sum(counts.values()))
    grow = min(wanted - counts[target], room, holes + begin)
    return counts[target] + max(0, grow)
