"""Notices when somebody else changes a node's network, as it happens.

Listens to the kernel's notifications in the data-plane namespace; our own changes and those of
things we do not own are passed over. Used by `host.datapath`, whose check then repairs.
"""

import asyncio
import contextlib
import struct
from collections.abc import Callable

from stackd.host import rtnl
from stackd.host.netlink import NETFILTER, ROUTE, NetlinkSocket, attributes, messages
from stackd.host.survey import Expected

_LINK, _NEIGHBOUR, _ADDRESS = 1, 3, 5
_NFTABLES = 7
_NEWGEN = 0xA0F


class Watch:
    """Made in the data plane's thread; `listen` and everything after in the event loop."""

    def __init__(self, writer: int, own_port: int) -> None:
        self._writer = writer
        """Thread whose nft transactions are our own."""
        self._own_port = own_port
        self._route = NetlinkSocket(ROUTE, (_LINK, _NEIGHBOUR, _ADDRESS))
        self._nft = NetlinkSocket(NETFILTER, (_NFTABLES,))
        self._disturbed = asyncio.Event()
        self._expected: Callable[[], Expected] | None = None

    def listen(self, expected: Callable[[], Expected]) -> None:
        """Begin; `expected` tells what should be there."""
        self._expected = expected
        loop = asyncio.get_running_loop()
        for netlink, judge in ((self._route, self._judge_route), (self._nft, self._judge_nft)):
            netlink.socket.setblocking(False)
            loop.add_reader(netlink.socket.fileno(), self._read, netlink, judge)

    def close(self) -> None:
        """Stop and close the sockets."""
        loop = asyncio.get_running_loop()
        for netlink in (self._route, self._nft):
            loop.remove_reader(netlink.socket.fileno())
            netlink.close()

    async def disturbed(self, timeout: float) -> None:
        """Return when something of ours was changed by others, at the latest after `timeout`
        seconds, in case an event was lost."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._disturbed.wait(), timeout)
        self._disturbed.clear()

    def _read(self, netlink: NetlinkSocket, judge: Callable[[bytes], bool]) -> None:
        while not self._disturbed.is_set():
            try:
                data = netlink.socket.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError:
                self._disturbed.set()  # ENOBUFS: events were lost, so look
                return
            if judge(data):
                self._disturbed.set()
        with contextlib.suppress(OSError):
            while netlink.socket.recv(1 << 18):
                pass

    def _judge_nft(self, data: bytes) -> bool:
        for kind, _, _, _, body in messages(data):
            if kind == _NEWGEN:
                pid = attributes(body[4:]).get(2, b"")
                return int.from_bytes(pid, "big") != self._writer
        return False

    def _judge_route(self, data: bytes) -> bool:
        foreign = [
            (kind, body) for kind, _, _, port, body in messages(data) if port != self._own_port
        ]
        if not foreign or self._expected is None:
            return False
        expected = self._expected()
        names = expected.names()
        addresses = {port.address for port in expected.ports.values()}
        addresses |= {address for _, address in expected.wanted.neighbours}
        macs = {port.mac for port in expected.ports.values()}
        macs |= {mac for _, mac in expected.wanted.forwarding}
        gateways = {overlay.gateway for overlay in expected.wanted.overlays.values()}
        for kind, body in foreign:
            match kind:
                case rtnl.NEWLINK | rtnl.DELLINK:
                    link = rtnl.parse_link(body)
                    floods = link.name.startswith("v") and rtnl.floods(body)
                    lost = kind == rtnl.DELLINK or not link.up or floods
                    if lost and link.name in names:
                        return True
                case rtnl.DELADDR:
                    if _text(attributes(body[8:]).get(2, b"")) in gateways:
                        return True
                case rtnl.DELNEIGH:
                    fields = attributes(body[12:])
                    bridged = struct.unpack_from("=B", body)[0] == rtnl.AF_BRIDGE
                    if bridged and fields.get(2, b"").hex(":") in macs:
                        return True
                    if not bridged and _text(fields.get(1, b"")) in addresses:
                        return True
                case _:
                    pass
        return False


def _text(packed: bytes) -> str:
    return ".".join(str(byte) for byte in packed)
