import pytest

from stackd.core.model.container import Ulimit
from stackd.core.spec.process import signal
from tests.unit.core.spec.stacks import faults, service


def test_commands_are_lists_or_split() -> None:
    found = service("command: run 'a b' c\nentrypoint: [/bin/sh, -c, 1]").container
    assert found.command == ("run", "a b", "c")
    assert found.entrypoint == ("/bin/sh", "-c", "1")
    absent = service("command: []").container
    assert absent.command == ()
    assert absent.entrypoint is None


def test_signals() -> None:
    assert [signal(s) for s in ("SIGINT", "term", "9")] == ["SIGINT", "SIGTERM", "SIGKILL"]
    real_time = ("SIGRTMIN+3", "rtmax-14", "RTMIN")
    assert [signal(s) for s in real_time] == ["SIGRTMIN+3", "SIGRTMAX-14", "SIGRTMIN"]
    for wrong in ("99", "SIGRTMIN+31", "SIGRTMIN-1", "SIGTERM+1"):
        with pytest.raises(ValueError, match="is not a signal"):
            signal(wrong)


def test_capabilities() -> None:
    found = service("cap_add: [net_admin, CAP_NET_RAW]\ncap_drop: [ALL, ALL]").container
    assert found.cap_add == ("CAP_NET_ADMIN", "CAP_NET_RAW")
    assert found.cap_drop == ("CAP_ALL",)


def test_ulimits() -> None:
    found = service("ulimits: {nofile: 10, core: {soft: 0, hard: -1}}").container
    assert found.ulimits == {"nofile": Ulimit(soft=10, hard=10), "core": Ulimit(soft=0, hard=-1)}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('command: "a \'b"', "cannot be split into words"),
        ("stop_signal: SIGNOPE", "'SIGNOPE' is not a signal"),
        ("cap_add: [ALL]", "cap_add ALL is not supported yet"),
        ("cap_add: [SYS_ADMIN]", "cap_add SYS_ADMIN is not supported yet"),
        ("cap_drop: [FLY]", "'FLY' is not a capability"),
        ("ulimits: {files: 1}", "'files' is not a ulimit"),
        ("ulimits: {nofile: {soft: 2, hard: 1}}", "the soft limit of nofile is above"),
        ("ulimits: {nofile: {soft: 2}}", "hard is missing"),
        ("ulimits: {nofile: -2}", "out of range"),
    ],
)
def test_faults(keys: str, message: str) -> None:
    assert message in faults(keys)
