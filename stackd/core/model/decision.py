"""What one pass of a control loop returns."""

from stackd.core.model.record import Changes, Ref, Value


class Decision(Value, frozen=True, kw_only=True):
    """Independent commits, each all or nothing (at most 100 places), and when to look again even
    if nothing changes (Unix seconds on the manager's clock)."""

    commits: tuple[Changes, ...] = ()
    wake_at: float | None = None


class Dirty(Value, frozen=True, kw_only=True):
    """What has changed since the last pass. `everything` on the first pass, after a lost watch and
    on the slow timer; then `refs` is empty."""

    everything: bool = True
    refs: frozenset[Ref] = frozenset()
