"""Network namespaces: made, pinned to files, and entered by threads kept for it.

A process need not enter a namespace to use it: a thread does, makes the socket, and the socket
stays there. Used by `host.datapath` and all below it.
"""

import asyncio
import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from stackd.errors import Unavailable

_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MNT_DETACH = 2

P = ParamSpec("P")
T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def enter(fd: int) -> None:
    """Move the calling thread into the namespace."""
    _check(_libc.setns(fd, _CLONE_NEWNET), "setns")


def join(path: Path) -> None:
    """Move this process, which has one thread yet, into a pinned namespace. Raises Unavailable."""
    fd = open_pinned(path)
    if fd is None:
        raise Unavailable(f"{path} is not a network namespace.", "Start the cluster: stackd up")
    try:
        enter(fd)
    finally:
        os.close(fd)


def current() -> int:
    """A new descriptor of the calling thread's namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def create(prepare: Callable[[], T]) -> tuple[int, T]:
    """A new namespace and what `prepare`, called inside it, returned. Raises OSError."""
    outcome: list[tuple[int, T]] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            _check(_libc.unshare(_CLONE_NEWNET), "unshare")
            fd = current()
            try:
                outcome.append((fd, prepare()))
            except BaseException:
                os.close(fd)
                raise
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body, name="netns")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def pin(fd: int, path: Path) -> None:
    """Give the namespace a name in the file system that outlives this process."""
    path.touch()
    source = f"/proc/self/fd/{fd}".encode()
    _check(_libc.mount(source, os.fsencode(path), None, _MS_BIND, None), f"mount {path}")


def unpin(path: Path) -> None:
    """Take the name away; the namespace goes when nothing else holds it. Idempotent."""
    with contextlib.suppress(OSError):
        _check(_libc.umount2(os.fsencode(path), _MNT_DETACH), f"umount {path}")
    path.unlink(missing_ok=True)


def open_pinned(path: Path) -> int | None:
    """The namespace behind a name, or None if the file is not (or no longer) one."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if os.fstat(fd).st_dev != _nsfs_device():
        os.close(fd)
        return None
    return fd


def _nsfs_device() -> int:
    return os.stat("/proc/self/ns/net").st_dev


class NamespaceThread:
    """One thread that lives in one namespace and does its blocking work in turn."""

    def __init__(self, fd: int | None, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, name)
        if fd is not None:
            self._executor.submit(enter, fd).result()

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` there and return what it returns. Work begun is finished even if the caller
        is cancelled."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: work(*args, **kwargs))

    def later(self, work: Callable[[], None]) -> None:
        """Do `work` there some time soon; nobody waits for it."""
        self._executor.submit(work)

    def close(self) -> None:
        """End the thread when its work is done."""
        self._executor.shutdown(wait=True)


def within(fd: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do `work` in a namespace in the calling thread and come back. The thread must be one kept
    for such work, not the event loop's."""
    home = current()
    try:
        enter(fd)
        try:
            return work(*args, **kwargs)
        finally:
            enter(home)
    finally:
        os.close(home)


def read_sysctl(name: str) -> str | None:
    """A value below /proc/sys/net of the calling thread's namespace; None if it does not exist."""
    try:
        return Path("/proc/sys/net", name).read_text().strip()
    except FileNotFoundError:
        return None


def write_sysctl(name: str, value: str) -> None:
    """Set a value below /proc/sys/net of the calling thread's namespace, if it exists there."""
    with contextlib.suppress(FileNotFoundError):
        Path("/proc/sys/net", name).write_text(value)
