"""Gathers the requests of services that are being analysed, counts those of services that are in
an A/B rollout, and hands both to the manager.

Fed by the access log of the ingress, emptied through `agent.reporter`. What waits is bounded: of
what nobody fetches the oldest goes, and a restart loses what was not sent. Both only make an
analysis slower, because the counters that go with it are lost alike.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from stackd.aio.clock import Clock
from stackd.core.model.ids import RevisionId
from stackd.core.model.requests import BATCH, Batch, Count, Measured, Request, Variant
from stackd.core.model.variants import Tried
from stackd.errors import StackdError

_log = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two reports."""
COUNT_EVERY = 5
"""Reports for each look at the counters."""
INSTANCES = 20_000
"""Most instances of which requests are gathered."""
FORGET = 600.0
"""Seconds after which an instance without requests is forgotten."""


@dataclass(slots=True)
class _Open:
    """Requests of an instance that are no whole batch yet."""

    since: float
    touched: float
    seconds: list[float] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    turned: list[int] = field(default_factory=list)


_Key = tuple[str, str, RevisionId, str]


class Requests:
    """`take` each request; `run` all along."""

    def __init__(self, send: Callable[[Measured], None], clock: Clock) -> None:
        self._send = send
        self._clock = clock
        self._open: dict[_Key, _Open] = {}
        self._whole: list[Batch] = []
        self._tried: dict[tuple[str, str, RevisionId, str], Tried] = {}
        self._sequence = 0

    def take(self, request: Request) -> None:
        """One more request has ended."""
        if request.counted and not request.shadow:
            self._count(request)
        if not request.judged:
            return
        name = f"{request.instance or '-'}{'/shadow' if request.shadow else ''}"
        key = (request.stack, request.service, request.revision, name)
        now = self._clock.now()
        found = self._open.get(key)
        if found is None:
            if len(self._open) >= INSTANCES:
                return
            found = self._open[key] = _Open(request.began, now)
        if not found.seconds:
            found.since = request.began
        found.touched, found.since = now, min(found.since, request.began)
        if request.failed:
            found.failed.append(len(found.seconds))
        if request.turned:
            found.turned.append(len(found.seconds))
        found.seconds.append(round(request.seconds, 5))
        if len(found.seconds) >= BATCH:
            self._whole.append(self._batch(key, found))
            found.seconds, found.failed, found.turned = [], [], []

    def _count(self, request: Request) -> None:
        key = (request.stack, request.service, request.revision, request.goal)
        more = Tried(requests=1, errors=int(request.failed), goals=int(request.reached))
        self._tried[key] = self._tried.get(key, Tried()).plus(more)

    def _variants(self) -> tuple[Variant, ...]:
        """What was counted since the last report."""
        tried, self._tried = self._tried, {}
        return tuple(
            Variant(stack=stack, service=service, revision=revision, goal=goal, tried=sums)
            for (stack, service, revision, goal), sums in tried.items()
        )

    def _batch(self, key: _Key, found: _Open) -> Batch:
        """The sequence follows the clock, so that it grows also over a restart."""
        self._sequence = max(self._sequence + 1, int(self._clock.now() * 1e6))
        stack, service, revision, name = key
        return Batch(
            stack=stack,
            service=service,
            revision=revision,
            instance=name,
            sequence=self._sequence,
            since=found.since,
            seconds=tuple(found.seconds),
            failed=tuple(found.failed),
            turned=tuple(found.turned),
        )

    async def run(self, counts: Callable[[], Awaitable[Sequence[Count]]]) -> None:
        """Report until cancelled. `counts`: what the proxy's counters grew by since the last
        call."""
        turn = 0
        while True:
            await self._clock.sleep(EVERY)
            turn += 1
            grown: Sequence[Count] = ()
            if turn % COUNT_EVERY == 0:
                try:
                    grown = await counts()
                except (StackdError, OSError) as error:
                    _log.warning("the ingress cannot be asked for its counters: %s", error)
                self._forget()
            whole, self._whole = self._whole, []
            variants = self._variants()
            if whole or grown or variants:
                self._send(Measured(batches=tuple(whole), counts=tuple(grown), variants=variants))

    def _forget(self) -> None:
        limit = self._clock.now() - FORGET
        self._open = {key: found for key, found in self._open.items() if found.touched > limit}
