"""How a loop learns what has changed in the tables that it watches, coalesced."""

from stackd.aio.clock import Clock
from stackd.aio.loop import Bell
from stackd.core.model.decision import Dirty
from stackd.core.model.record import Ref


class Subscription:
    """Collects the places that changed until its one reader asks. Made by `Tables.subscribe`."""

    def __init__(self, tables: frozenset[str], clock: Clock) -> None:
        self.tables = tables
        self._bell = Bell(clock)
        self._everything = False
        self._refs: set[Ref] = set()
        self.all_changed()

    def changed(self, ref: Ref) -> None:
        """Note a change (called by the tables)."""
        if not self._everything:
            self._refs.add(ref)
        self._bell.ring()

    def all_changed(self) -> None:
        """Note that anything may have changed."""
        self._everything = True
        self._refs.clear()
        self._bell.ring()

    def again(self, dirty: Dirty) -> None:
        """Give back what was taken: the decision about it could not be committed."""
        if dirty.everything:
            self.all_changed()
        else:
            if not self._everything:
                self._refs.update(dirty.refs)
            self._bell.ring()

    async def next(self, timeout: float | None = None) -> Dirty:
        """What has changed since the last call; waits for a change, at most `timeout` seconds.

        The first answer is everything. After a timeout nothing is dirty.
        """
        await self._bell.wait(timeout)
        dirty = Dirty(everything=self._everything, refs=frozenset(self._refs))
        self._everything = False
        self._refs.clear()
        return dirty
