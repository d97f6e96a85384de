"""What is counted for whom."""

import pytest

from stackd.aio.clock import ManualClock
from stackd.errors import Unavailable
from stackd.wire import guard
from stackd.wire.guard import Guard


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:4711", "192.0.2.1"),
        ("ipv6:%5B2001:db8:1:2:3::4%5D:4711", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2::9]:4711", "2001:db8:1:2::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:4711", "fe80::/64"),
        ("unix:", ""),
    ],
)
def test_strangers_are_counted_by_address(peer: str, address: str) -> None:
    assert guard.address_of(peer) == address


async def test_refused_joins_close_the_door_to_their_address_only() -> None:
    clock = ManualClock()
    one = Guard(clock)
    for _ in range(int(guard.FAILED_JOINS[1])):
        one.before_join("192.0.2.1")
        one.join_refused("192.0.2.1")
    with pytest.raises(Unavailable, match="were refused") as raised:
        one.before_join("192.0.2.1")
    one.before_join("192.0.2.2")
    await clock.advance(raised.value.retry_after)
    one.before_join("192.0.2.1")


def test_joins_that_succeed_are_not_counted() -> None:
    one = Guard(ManualClock())
    for _ in range(1000):
        one.before_join("192.0.2.1")


async def test_sessions_of_one_node_are_bounded_and_of_others_free() -> None:
    clock = ManualClock()
    one = Guard(clock)
    for _ in range(int(guard.SESSIONS[1])):
        one.session("node/a")
    with pytest.raises(Unavailable, match="too often"):
        one.session("node/a")
    for number in range(1000):
        one.session(f"node/{number}")
    await clock.advance(1 / guard.SESSIONS[0])
    one.session("node/a")
