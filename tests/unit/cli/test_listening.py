"""Where `up` lets the JSON API be served."""

import socket
from pathlib import Path

import pytest

from stackd.cli import listening
from stackd.cli.listening import Wanted
from stackd.core.model.cluster import ClusterFile
from stackd.errors import Refused

KEPT = ClusterFile(id="x", http_listen="127.0.0.1:7443", http_cert="/c", http_key="/k")
PAPER = Path("/x.pem")


def test_what_is_not_said_stays_and_an_empty_address_ends_it() -> None:
    assert listening.kept(Wanted(None, None, None), KEPT) == KEPT
    none = listening.kept(Wanted("", None, None), KEPT)
    assert (none.http_listen, none.http_cert, none.http_key) == ("", "", "")
    assert listening.told(none) == []
    assert listening.told(KEPT) == ["JSON API: https://127.0.0.1:7443/openapi.json"]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted("0.0.0.0:7443", None, None), "not on loopback"),
        (Wanted("0.0.0.0:7443", PAPER, None), "belong together"),
        (Wanted(None, PAPER, PAPER), "no address for the certificate"),
        (Wanted("0.0.0.0:7443", PAPER, PAPER), "are no certificate and its key"),
        (Wanted("nonsense", None, None), "no address to listen on"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_starts(wanted: Wanted, said: str) -> None:
    with pytest.raises(Refused, match=said) as refused:
        listening.check(wanted, None)
    assert refused.value.remedy


def test_a_port_that_is_taken_is_refused_but_our_own_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Refused, match=f"{address} cannot be listened on"):
            listening.check(Wanted(address, None, None), KEPT)
        own = ClusterFile(id="x", http_listen=address)
        listening.check(Wanted(address, None, None), own)
        assert listening.kept(Wanted(address, None, None), own) == own
