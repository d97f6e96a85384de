"""Packing of changes into commits."""

from stackd.core.model.draft import MAX_PLACES, Draft, earliest, join
from stackd.core.model.event import Event
from stackd.core.model.record import Ref


def ids() -> str:
    return "000000000001"


def event(number: int) -> Event:
    return Event(id=f"{number:03d}", at=0, kind="a.b", object="x", principal="p")


def test_small_groups_share_a_commit_up_to_the_limit() -> None:
    draft = Draft(0, ids)
    relied = Ref(table="services", key="s/w")
    for number in range(100):
        draft.group([event(2 * number), event(2 * number + 1)], [relied])
    commits = draft.decision().commits
    assert [len(c.changes) for c in commits] == [88, 88, 24]
    assert all(c.relies == (relied,) for c in commits)
    assert all(len(c.changes) + len(c.relies) <= MAX_PLACES for c in commits)


def test_what_a_commit_writes_it_does_not_rely_on() -> None:
    draft = Draft(0, ids)
    draft.group([event(1)], [Ref(table="events", key="002")])
    draft.group([event(2)])
    (commit,) = draft.decision().commits
    assert commit.relies == ()


def test_nothing_makes_no_commit() -> None:
    draft = Draft(0, ids)
    draft.group([], [Ref(table="events", key="1")])
    assert draft.decision(5).commits == ()


def test_the_earliest_wake_wins() -> None:
    assert earliest(None, 7, 5) == 5
    assert earliest(None) is None
    first, second = Draft(0, ids).decision(3), Draft(0, ids).decision(None)
    assert join([first, second]).wake_at == 3
