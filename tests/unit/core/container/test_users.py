"""USER against passwd and group files that strangers wrote."""

import pytest

from stackd.core.container.users import User, resolve
from stackd.errors import Rejected

PASSWD = "root:x:0:0::/root:/bin/sh\nbroken\n:x:9:9\nweb:x:33:34:www\nbig:x:99999999999:1:\n"
GROUP = "root:x:0:\nwww:x:34:\nlogs:x:50:web,other\nweb:x:51:web\njunk\nbad:x:-1:web\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", User(0, 0, (0,))),
        ("0", User(0, 0, (0,))),
        ("web", User(33, 34, (34, 50, 51))),
        ("33", User(33, 34, (34, 50, 51))),
        ("web:", User(33, 34, (34, 50, 51))),
        ("web:logs", User(33, 50, (50,))),
        ("web:7", User(33, 7, (7,))),
        ("4711", User(4711, 0, (0,))),
        ("4294967294:4294967294", User(4294967294, 4294967294, (4294967294,))),
    ],
)
def test_resolved(text: str, expected: User) -> None:
    assert resolve(text, PASSWD, GROUP) == expected


@pytest.mark.parametrize(
    "text", ["4294967296", "4294967295", "-1", "+5", "0:-1", "nobody", "web:none", "big", "9" * 30]
)
def test_rejected(text: str) -> None:
    with pytest.raises(Rejected):
        resolve(text, PASSWD, GROUP)


def test_without_files() -> None:
    assert resolve("12:13", "", "") == User(12, 13, (13,))
    with pytest.raises(Rejected):
        resolve("root", "", "")
