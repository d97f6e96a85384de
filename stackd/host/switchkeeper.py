"""Keeps the network between embedded nodes whole: mends it as soon as others change something.

Listens to the kernel on the machine and in the switch's namespace; a timer looks as well, in case
a notification was lost. Run by the supervisor of `up`.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from stackd.aio.layout import NodeLayout
from stackd.errors import Unavailable
from stackd.host import netns, netwatch
from stackd.host.netns import NamespaceThread
from stackd.host.netwatch import Judge, Watch
from stackd.host.nftables import Nft, Table
from stackd.host.plane import thread_id
from stackd.host.switch import Switch

log = logging.getLogger(__name__)

LOOK_EVERY = 30.0
AGAIN = 1.0
SETTLE = 0.05


@dataclass(frozen=True, slots=True)
class Member:
    """A node behind the switch and its number."""

    node: NodeLayout
    number: int


class SwitchKeeper:
    """See the module. `start`, then `run` until cancelled, then `close`."""

    def __init__(self, switch: Switch, members: Sequence[Member]) -> None:
        self._switch = switch
        self._members = members
        self._thread = NamespaceThread(None, "switch")
        self._disturbed = asyncio.Event()
        self._nft: Nft | None = None
        self._table: Table | None = None
        self._watches: list[Watch] = []
        self._inode = 0
        """Of the switch's namespace that is listened to."""
        self._said: list[str] = []

    async def start(self) -> None:
        """Make everything, however often it takes."""
        whole = await self._look()
        while not whole:
            await asyncio.sleep(AGAIN)
            whole = await self._look()

    async def run(self) -> None:
        """Never returns."""
        whole = True
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._disturbed.wait(), LOOK_EVERY if whole else AGAIN)
            await asyncio.sleep(SETTLE)
            self._disturbed.clear()
            whole = await self._look()

    def close(self) -> None:
        """Stop listening; everything stays."""
        for watch in self._watches:
            watch.close()
        self._thread.close()
        if self._table is not None:
            self._table.close()
        if self._nft is not None:
            self._nft.close()

    async def _look(self) -> bool:
        """Mend and log what was done; whether all is well."""
        try:
            said = await self._thread.run(self._mend)
            await self._listen()
        except (OSError, Unavailable) as error:
            said = [str(error)]
            whole = False
        else:
            whole = True
        for sentence in said:
            if sentence not in self._said:
                log.warning("switch: %s", sentence)
        self._said = said
        return whole

    def _mend(self) -> list[str]:
        if self._nft is None:
            self._nft = Nft(threading.Lock())
        if self._table is None:
            table = self._switch.rules(self._nft)
            table.load(())
            self._table = table
        done = self._switch.check(self._nft, self._table)
        for member in self._members:
            if member.node.netns.exists() and not member.node.off.exists():
                self._switch.connect(member.node, member.number)
        return done

    async def _listen(self) -> None:
        """Listen on the machine, and in the switch that is there now."""
        path = self._switch.layout.switch
        inode = os.stat(path).st_ino
        if inode == self._inode:
            return
        inside = netns.open_pinned(path)
        if inside is None:
            return
        try:
            writer = await self._thread.run(thread_id)
            name, address = self._switch.link, self._switch.address(1)
            watches = [
                await self._thread.run(
                    Watch, writer, (), netwatch.SWITCHED, netwatch.switched(name, address)
                ),
                await self._thread.run(netns.within, inside, _watch, netwatch.links),
            ]
        finally:
            os.close(inside)
        for watch in self._watches:
            watch.close()
        self._watches, self._inode = watches, inode
        for watch in watches:
            watch.listen(self._disturbed)


def _watch(judge: Judge) -> Watch:
    return Watch(0, (), netwatch.LINKS, judge)
