"""cap_add and cap_drop over the baseline."""

import pytest

from stackd.core.container.capabilities import BASELINE, KNOWN, granted
from stackd.errors import Rejected

BASE = tuple(sorted(BASELINE))


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), (), BASE),
        (("NET_RAW",), (), tuple(sorted((*BASE, "CAP_NET_RAW")))),
        (("cap_net_raw",), ("ALL",), ("CAP_NET_RAW",)),
        ((), ("all",), ()),
        ((), ("CHOWN", "NET_RAW"), tuple(name for name in BASE if name != "CAP_CHOWN")),
        (("ALL",), (), tuple(sorted(KNOWN))),
        (("ALL",), ("KILL",), tuple(sorted(set(KNOWN) - {"CAP_KILL"}))),
        (("KILL",), ("KILL",), BASE),
    ],
)
def test_granted(add: tuple[str, ...], drop: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert granted(add, drop, KNOWN) == expected


def test_unknown_and_not_held() -> None:
    for add, drop in ((("X",), ()), ((), ("X",))):
        with pytest.raises(Rejected, match="unknown"):
            granted(add, drop, KNOWN)
    with pytest.raises(Rejected, match="does not hold"):
        granted(("SYS_RESOURCE",), (), BASELINE)
    assert granted(("ALL",), (), ("CAP_KILL",)) == ("CAP_KILL",)
