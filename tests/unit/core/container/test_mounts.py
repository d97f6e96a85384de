"""Which targets are allowed, and who owns config and secret files."""

import pytest

from stackd.core.container.mounts import Access, access, check, closed, normal
from stackd.core.container.users import User
from stackd.core.model.container import Mount, MountKind
from stackd.core.model.driver import FileContent
from stackd.errors import Rejected

APP, ROOT = User(1000, 1001, (1001,)), User(0, 0, (0,))


def file(secret: bool, **over: int) -> FileContent:
    given = {"uid": None, "gid": None, "mode": None} | over
    return FileContent("/f", b"", secret, given["uid"], given["gid"], given["mode"])


@pytest.mark.parametrize(
    ("content", "user", "expected"),
    [
        (file(True), APP, Access(1000, 1001, 0o400)),
        (file(True), ROOT, Access(0, 0, 0o444)),
        (file(False), APP, Access(1000, 1001, 0o444)),
        (file(False), ROOT, Access(0, 0, 0o444)),
        (file(True, mode=0o600), ROOT, Access(0, 0, 0o600)),
        (file(True, uid=5, gid=6), APP, Access(5, 6, 0o400)),
        (file(False, mode=0o777, uid=0), APP, Access(0, 1001, 0o777)),
    ],
)
def test_access(content: FileContent, user: User, expected: Access) -> None:
    assert access(content, user) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a/../b//c/.", "/b/c"), ("//x", "/x"), ("/", "/"), ("/../..", "/")],
)
def test_normal(path: str, expected: str) -> None:
    assert normal(path) == expected


@pytest.mark.parametrize("path", ["rel", "", "/a\0b"])
def test_not_normal(path: str) -> None:
    with pytest.raises(Rejected):
        normal(path)


def test_closed() -> None:
    assert [
        closed(p) for p in ("/proc", "/proc/x", "/dev/shm", "/dev/shm/x", "/sysx", "/data")
    ] == [
        *(True, True, False, True, False, False),
    ]


def mount(target: str, *, shared: bool = False, read_only: bool = False) -> Mount:
    return Mount(kind=MountKind.TMPFS, target=target, shared=shared, read_only=read_only)


@pytest.mark.parametrize(
    "mounts",
    [
        (mount("/"),),
        (mount("/proc/x"),),
        (mount("/a/../sys"),),
        (mount("/dev"),),
        (mount("/a"), mount("/a/")),
        (mount("/f"),),
        (mount("/a", shared=True), mount("/a/b")),
    ],
)
def test_refused(mounts: tuple[Mount, ...]) -> None:
    with pytest.raises(Rejected):
        check(mounts, (file(True),))


def test_allowed() -> None:
    check((mount("/a"), mount("/a/b"), mount("/dev/shm"), mount("/c", shared=True)), (file(True),))
    check((mount("/a", shared=True, read_only=True), mount("/a/b")), ())
