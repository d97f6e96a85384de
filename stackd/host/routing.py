"""What the kernel routes by itself once a link has an address, and the rules that lead it to its
tables: others can take both away, and then nothing is reached although every address is there.

Used by `host.fabric`, `host.survey`, `host.plane`, `host.uplink` and `host.switch`.
"""

import errno
import ipaddress
import socket
import struct
from typing import NamedTuple

from stackd.host import rtnl
from stackd.host.netlink import CREATE, EXCL, Message, NetlinkSocket, attributes, u32

MAIN, LOCAL = 254, 255
DEFAULT = "0.0.0.0/0"
_RULES = {0: LOCAL, 32766: MAIN}
"""Priority -> table that is looked up: what every namespace begins with."""
_TO_TABLE = 1
_DUMP = struct.pack("=BBBBBBBBI", socket.AF_INET, *[0] * 8)


class Found(NamedTuple):
    """A route as the kernel shows it: `destination` in CIDR form, index of its `link`, table."""

    destination: str
    link: int
    table: int


def routes(netlink: NetlinkSocket) -> set[Found]:
    """All IPv4 routes that lead to a link. Raises NetlinkError."""
    found = set()
    for answer in netlink.dump(Message(rtnl.GETROUTE, 0, _DUMP)):
        index = struct.unpack("=I", attributes(answer.body[12:]).get(4, b"\0" * 4))[0]
        if destination := parse(answer.body):
            found.add(Found(destination, index, answer.body[4]))
    return found


def parse(body: bytes) -> str:
    """The destination of a route message; '' when it is not of IPv4."""
    address = attributes(body[12:]).get(1, b"\0" * 4)
    return f"{socket.inet_ntoa(address)}/{body[1]}" if len(address) == 4 else ""


def subnet(address: str, prefix: int) -> str:
    """The network of an address, in CIDR form."""
    return str(ipaddress.IPv4Interface(f"{address}/{prefix}").network)


def whole(found: set[Found], index: int, address: str, prefix: int) -> bool:
    """Whether the kernel's own routes of an address are there: to it, and to its network."""
    return {
        Found(f"{address}/32", index, LOCAL),
        Found(subnet(address, prefix), index, MAIN),
    } <= found


def set_address(netlink: NetlinkSocket, index: int, address: str, prefix: int) -> None:
    """The link, which is up, has the address and its routes. Where a route was missing the
    address is taken away and given again: then neighbours and other routes of the link are to be
    set again, too. Raises NetlinkError."""
    if not whole(routes(netlink), index, address, prefix):
        away = rtnl.delete_address(index, address, prefix)
        netlink.request([away], ignore=(errno.EADDRNOTAVAIL,))
    netlink.request([rtnl.add_address(index, address, prefix)])


def mend_rules(netlink: NetlinkSocket) -> bool:
    """Have the rules that lead to the tables `local` and `main`; whether one was missing. Raises
    NetlinkError."""
    found = set()
    for answer in netlink.dump(Message(rtnl.GETRULE, 0, _DUMP)):
        priority = attributes(answer.body[12:]).get(6, b"\0" * 4)
        found.add((struct.unpack("=I", priority)[0], answer.body[4]))
    missing = [rule for rule in _RULES.items() if rule not in found]
    netlink.request([_rule(*rule) for rule in missing], ignore=(errno.EEXIST,))
    return bool(missing)


def _rule(priority: int, table: int) -> Message:
    head = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, table, 0, 0, _TO_TABLE, 0)
    return Message(rtnl.NEWRULE, CREATE | EXCL, head + u32(6, priority))
