"""What agents told of the requests of services that are being analysed, until it is judged.

In the leader's memory only, and bounded: what is lost, with a leader or by overflow, makes an
analysis slower and changes no verdict. Filled by `manager.dispatcher`, read by `manager.analyses`.
"""

from collections import defaultdict, deque
from collections.abc import Callable

from msgspec.structs import replace

from stackd.core.model.analysis import Counters
from stackd.core.model.requests import Batch, Measured
from stackd.core.model.variants import Tried

BATCHES = 20_000
"""Most that wait for one service; the oldest go first."""

VARIANTS = 100
"""Most revisions and goals of which sums are kept for one service; the oldest go first."""


class Inbox:
    """`wanted`: whether requests to a service (`STACK/SERVICE`) are told at all."""

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        self._wanted = wanted
        self._batches: dict[str, deque[Batch]] = {}
        self._counters: dict[str, dict[str, Counters]] = defaultdict(dict)
        self._tried: dict[str, dict[tuple[str, str], Tried]] = defaultdict(dict)

    def put(self, node: str, measured: Measured) -> None:
        """`node` (by its certificate) saw these: each node's requests to a task are a sequence
        of their own."""
        for batch in measured.batches:
            if self._wanted(batch.key):
                mine = self._batches.setdefault(batch.key, deque(maxlen=BATCHES))
                mine.append(replace(batch, instance=f"{batch.instance}@{node}"))
        for count in measured.counts:
            if self._wanted(count.key):
                before = self.counters(count.key, count.revision)
                self._counters[count.key][count.revision] = Counters(
                    requests=before.requests + count.requests,
                    errors=before.errors + count.errors,
                )

        for variant in measured.variants:
            if self._wanted(variant.key):
                known = self.tried(variant.key, variant.revision, variant.goal)
                sums = self._tried[variant.key]
                sums[variant.revision, variant.goal] = known.plus(variant.tried)
                if len(sums) > VARIANTS:
                    del sums[next(iter(sums))]

    def tried(self, key: str, revision: str, goal: str) -> Tried:
        """The sum of what a variant did since this manager leads, for a goal (its words)."""
        return self._tried.get(key, {}).get((revision, goal), Tried())

    def batches(self, key: str) -> tuple[Batch, ...]:
        """What waits for a service, in the order in which it came."""
        return tuple(self._batches.get(key, ()))

    def counters(self, key: str, revision: str) -> Counters:
        """The sum of what was counted of a revision since this manager leads."""
        return self._counters.get(key, {}).get(revision, Counters(requests=0, errors=0))

    def drop(self, key: str, judged: Callable[[Batch], bool]) -> None:
        """Forget what is judged."""
        if key in self._batches:
            kept = (batch for batch in self._batches[key] if not judged(batch))
            self._batches[key] = deque(kept, maxlen=BATCHES)

    def forget(self, key: str) -> None:
        """Nothing of the service is analysed any more."""
        self._batches.pop(key, None)
        self._counters.pop(key, None)
        self._tried.pop(key, None)
