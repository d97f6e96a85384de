"""Applies the traffic table on this node and says how far it has come.

Fed by `agent.worker`; reports through `agent.reporter`. Networks first, then the ingress; the
newest table wins. What was applied last is kept on disk and served first at the next start, because
an Envoy that starts without configuration opens no port, and because the step from there to the
newest table must be made in order.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from stackd.agent.drivers import NodeNetwork, Proxy
from stackd.aio.backoff import Backoff
from stackd.aio.clock import Clock
from stackd.aio.loop import Bell
from stackd.core.model.assignment import TrafficItem
from stackd.core.model.ids import NodeId
from stackd.core.model.node import NodeReport
from stackd.core.model.record import Value
from stackd.core.model.traffic import EndpointState, TrafficEntry
from stackd.core.traffic import effective
from stackd.errors import StackdError

_log = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds until a port that was taken is tried again."""
COUNT_FIRST = 0.02
COUNT_MOST = 0.2
"""Seconds between two counts, growing while nothing changes."""


class Table(Value, frozen=True, kw_only=True):
    """A table complete up to store revision `revision`."""

    revision: int
    entries: tuple[TrafficEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Carriers:
    """What carries traffic on this node. `names` takes the entries for DNS."""

    network: NodeNetwork
    proxy: Proxy
    names: Callable[[Sequence[TrafficEntry]], None]


class TrafficApplier:
    """Conforms to `worker.Traffic`. `run` all along; `wanted` at any time."""

    def __init__(
        self, carriers: Carriers, path: Path, report: Callable[[NodeReport], None], clock: Clock
    ) -> None:
        """`path`: where the applied table is kept; `report` takes what the node has to say (the
        manager fills in whose report it is)."""
        self._carriers = carriers
        self._path = path
        self._report = report
        self._saved = _load(path)
        self._wanted: Table | None = None
        self._applied: Table | None = None
        self._problems: Mapping[str, str] = {}
        self._said = NodeReport(id=NodeId(""))
        self._clock = clock
        self._doubted = False
        self._changed = Bell(clock)
        self._counting = Bell(clock)
        if self._saved is not None:
            self._changed.ring()

    def wanted(self, items: Sequence[TrafficItem], revision: int) -> None:
        """Exactly these entries; every change up to store revision `revision` is in them.
        Revision 0 knows nothing and changes nothing."""
        if revision:
            entries = tuple(sorted((item.entry for item in items), key=lambda e: e.key))
            self._wanted = Table(revision=revision, entries=entries)
            self._changed.ring()

    async def run(self) -> None:
        """Apply and count until cancelled; all that carries traffic stays as it is then."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._apply_all())
            group.create_task(self._count_all())
            group.create_task(self._doubt_all())

    async def _doubt_all(self) -> None:
        """What the ingress no longer shows is applied again."""
        while True:
            await self._carriers.proxy.doubtful()
            self._doubted = True
            self._changed.ring()
            await self._clock.sleep(RETRY)

    async def _apply_all(self) -> None:
        """The saved table once, then the newest one."""
        backoff = Backoff(first=0.2, most=5.0)
        pause: float | None = None
        while True:
            await self._changed.wait(pause)
            pause = None
            if self._saved is not None:
                table, self._saved = self._saved, None
                await self._apply(table)
            while self._wanted is not None and pause is None:
                table = self._wanted
                if not await self._apply(table):
                    pause = backoff.next()
                elif self._wanted is table:
                    backoff.reset()
                    break
            if pause is None and self._problems:
                pause = RETRY

    async def _apply(self, table: Table) -> bool:
        """Make it true on this node; False when it must be tried again."""
        same = self._applied is not None and self._applied.entries == table.entries
        if not same or self._problems or self._doubted:
            carriers = self._carriers
            carriers.names(table.entries)
            try:
                await carriers.network.route_services(table.entries)
                self._problems = (await carriers.proxy.apply(table.entries)).problems
            except (StackdError, OSError) as error:
                _log.warning("traffic table %d: %s", table.revision, error)
                return False
            self._doubted = False
            _save(self._path, table)
        self._applied = table
        self._say(applied=table.revision, problems=self._problems)
        self._counting.ring()
        return True

    def _say(self, **changes: Any) -> None:
        new = msgspec.structs.replace(self._said, **changes)
        if new != self._said:
            self._said = new
            self._report(new)

    async def _count_all(self) -> None:
        """Count for as long as something leaves; with nothing to count, what is applied is
        counted."""
        pause: float | None = None
        while True:
            await self._counting.wait(pause)
            table = self._applied
            if table is None:
                continue
            if not any(effective.leaving(entry) for entry in table.entries):
                self._say(in_flight={}, counted=table.revision)
                pause = None
                continue
            before = self._said
            try:
                self._say(in_flight=await self._count(table), counted=table.revision)
            except (StackdError, OSError) as error:
                _log.warning("traffic cannot be counted: %s", error)
                pause = RETRY
                continue
            same = self._said == before and pause is not None
            pause = min(COUNT_MOST, pause * 1.2) if same and pause else COUNT_FIRST

    async def _count(self, table: Table) -> dict[str, int]:
        """Task id -> what the ingress and the virtual addresses of this node still carry."""
        carriers = self._carriers
        found = dict(await carriers.proxy.in_flight(table.entries))
        draining = {
            address: endpoint.task
            for entry in table.entries
            for endpoint in entry.endpoints
            if endpoint.state is EndpointState.DRAINING
            for address in endpoint.addresses.values()
        }
        if draining:
            for address, count in (await carriers.network.connections(list(draining))).items():
                task = draining[address]
                found[task] = found.get(task, 0) + count
        return found


def _load(path: Path) -> Table | None:
    """The table applied last; None when there is none or it cannot be read."""
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=Table)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        _log.warning("the saved traffic table is passed over: %s", error)
        return None


def _save(path: Path, table: Table) -> None:
    """Not synced: it only has to outlive the agent; after a crash of the machine nothing that
    it describes runs any more. On a full disk there is none rather than an old one: what the
    agent's record holds is served then."""
    new = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(msgspec.msgpack.encode(table))
        os.replace(new, path)
    except OSError as error:
        _log.warning("the traffic table cannot be kept: %s", error.strerror)
        for stale in (new, path):
            with contextlib.suppress(OSError):
                stale.unlink(missing_ok=True)
