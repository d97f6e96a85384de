"""Who holds a port, by the kernel's own word."""

import os
import socket

import pytest

from stackd.host import listening

pytestmark = pytest.mark.host


def held(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    """A listener on a port that the kernel chose, shared with whoever wants."""
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("::" if family is socket.AF_INET6 else "127.0.0.1", 0))
    made.listen()
    return made


def test_a_holder_is_named_even_if_it_would_share() -> None:
    with held() as holder:
        port = holder.getsockname()[1]
        assert listening.holders(port) == [os.getpid()]
        assert f"Port {port} is held by" in listening.problem(port, [])
        assert f"(pid {os.getpid()})" in listening.problem(port, [])
        assert listening.problem(port, [os.getpid()]) == ""
    assert listening.problem(port, []) == ""


def test_a_listener_on_ipv6_holds_the_port_too() -> None:
    with held(socket.AF_INET6) as holder:
        port = holder.getsockname()[1]
        assert listening.holders(port) == [os.getpid()]
        assert not listening.free(port)
