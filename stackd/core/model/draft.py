"""Collects what one pass of a decider wants written and packs it into commits.

Used by the deciders of `orchestrate`, `rollout`, `network` and `schedule`. Groups stay whole;
several small groups share a commit as long as it stays below the store's limit.
"""

from collections.abc import Callable, Iterable, Sequence

from stackd.core.model.decision import Decision
from stackd.core.model.event import Event
from stackd.core.model.record import Change, Changes, Put, Record, Ref

Ids = Callable[[], str]
"""Each call gives a new id, greater than those before: 12 characters of [a-z0-9]."""

MAX_PLACES = 90
"""Places in one commit: below the store's 100, with room for the leader's own key."""


def place(change: Change) -> Ref:
    """Where a change is made."""
    if isinstance(change, Put):
        return Ref(table=change.record.TABLE, key=change.record.key)
    return change.ref


class Draft:
    """A decision being made at time `now` (Unix seconds, the manager's clock)."""

    def __init__(self, now: float, ids: Ids, principal: str = "manager") -> None:
        self.now = now
        self.ids = ids
        self.principal = principal
        self._groups: list[Changes] = []

    def event(self, kind: str, object_: str, text: str = "", cause: str = "") -> Event:
        """A new event; the caller puts it in the group that it tells of."""
        return Event(
            id=self.ids(),
            at=self.now,
            kind=kind,
            object=object_,
            principal=self.principal,
            cause=cause,
            text=text,
        )

    def group(self, records: Iterable[Record | Change], relies: Sequence[Ref] = ()) -> None:
        """Write these all or nothing (at most 90 places, `relies` included)."""
        changes = tuple(Put(record=r) if isinstance(r, Record) else r for r in records)
        if changes:
            self._groups.append(Changes(changes=changes, relies=tuple(relies)))

    def decision(self, wake_at: float | None = None) -> Decision:
        """What has been collected, packed."""
        commits: list[Changes] = []
        changes: list[Change] = []
        written: set[Ref] = set()
        relies: dict[Ref, None] = {}
        for group in self._groups:
            here = [place(change) for change in group.changes]
            new = [r for r in (*here, *group.relies) if r not in written and r not in relies]
            if changes and len(written) + len(relies) + len(new) > MAX_PLACES:
                commits.append(_commit(changes, written, relies))
                changes, written, relies = [], set(), {}
            changes.extend(group.changes)
            written.update(here)
            relies.update(dict.fromkeys(group.relies))
        if changes:
            commits.append(_commit(changes, written, relies))
        return Decision(commits=tuple(commits), wake_at=wake_at)


def _commit(changes: Iterable[Change], written: set[Ref], relies: Iterable[Ref]) -> Changes:
    return Changes(changes=tuple(changes), relies=tuple(r for r in relies if r not in written))


def earliest(*times: float | None) -> float | None:
    """The first of several times to wake; None = never."""
    known = [t for t in times if t is not None]
    return min(known) if known else None


def join(decisions: Iterable[Decision]) -> Decision:
    """Several decisions as one."""
    parts = tuple(decisions)
    return Decision(
        commits=tuple(c for d in parts for c in d.commits),
        wake_at=earliest(*(d.wake_at for d in parts)),
    )
