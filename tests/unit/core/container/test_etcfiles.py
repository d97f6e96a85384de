"""Texts under /etc."""

from stackd.core.container import etcfiles


def test_hosts() -> None:
    text = etcfiles.hosts("w", {"b": "10.0.1.2", "a": "10.0.0.2"}, ("db:1.2.3.4", "v6:::1"))
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["127.0.0.1", "localhost"]
    assert lines[2:] == [
        ["10.0.0.2", "w"],
        ["10.0.1.2", "w"],
        ["1.2.3.4", "db"],
        ["::1", "v6"],
    ]
    assert "127.0.1.1\tw\n" in etcfiles.hosts("w", {}, ())


def test_resolv_conf() -> None:
    assert etcfiles.resolv_conf("10.0.0.1", ("9.9.9.9",), ("a", "b")) == (
        "nameserver 10.0.0.1\nsearch a b\noptions ndots:0\n"
    )
    assert etcfiles.resolv_conf("", ("9.9.9.9",), ()) == "nameserver 9.9.9.9\noptions ndots:0\n"
