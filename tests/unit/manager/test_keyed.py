"""Decisions made key by key, each with its own time to look again."""

from collections.abc import Iterator

from stackd.core.model.decision import Decision, Dirty
from stackd.core.model.draft import Draft, Ids
from stackd.core.model.record import Ref
from stackd.core.model.world import World
from stackd.manager.keyed import Keyed

ALL = Dirty(everything=True)
NONE = Dirty(everything=False)


def only(key: str) -> Dirty:
    return Dirty(everything=False, refs=frozenset({Ref(table="t", key=key)}))


class Looks:
    """A decider that notes what it was asked and wakes as told."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.wakes: dict[str, float] = {}
        self.writes: set[str] = set()

    def keys(self, world: World, dirty: Dirty) -> set[str]:
        return {"a", "b"} if dirty.everything else {ref.key for ref in dirty.refs}

    def decide(self, world: World, key: str, now: float, ids: Ids) -> Decision:
        self.seen.append(key)
        draft = Draft(now, ids)
        if key in self.writes:
            draft.group([draft.event("a.b", key)])
        return draft.decision(self.wakes.get(key))

    def look(self, keyed: Keyed, dirty: Dirty, now: float) -> tuple[list[str], float | None]:
        self.seen.clear()
        wake = keyed(World(), dirty, now, ids()).wake_at
        return list(self.seen), wake


def ids() -> Iterator[str]:
    yield from (f"{number:012d}" for number in range(100))


def test_only_what_changed_or_is_due_is_looked_at() -> None:
    looks = Looks()
    keyed = Keyed(looks.keys, looks.decide)
    looks.wakes = {"a": 10, "b": 20}
    assert looks.look(keyed, ALL, 0) == (["a", "b"], 10)
    assert looks.look(keyed, only("b"), 1) == (["b"], 10)
    looks.wakes = {}
    assert looks.look(keyed, NONE, 10) == (["a"], 20)
    assert looks.look(keyed, NONE, 11) == ([], 20)
    assert looks.look(keyed, NONE, 20) == (["b"], None)


def test_what_was_written_is_looked_at_again_in_case_the_write_lost() -> None:
    looks = Looks()
    keyed = Keyed(looks.keys, looks.decide)
    looks.writes = {"a"}
    assert looks.look(keyed, only("a"), 5) == (["a"], 6)
    looks.writes = set()
    assert looks.look(keyed, NONE, 6) == (["a"], None)
