"""Run inside a container by `test_runtime_seccomp`: what must work, then what must not."""

import asyncio
import concurrent.futures
import ctypes
import errno
import mmap
import multiprocessing
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading

_libc = ctypes.CDLL(None, use_errno=True)


def works() -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda n: n * 2, range(10))) == 90
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert subprocess.run(["/usr/bin/bash", "-c", "echo $((6*7)) | cat"], capture_output=True,
                          check=True).stdout == b"42\n"  # fmt: skip
    with multiprocessing.get_context("fork").Pool(2) as processes:
        assert processes.map(abs, [-1, -2]) == [1, 2]
    asyncio.run(_echo())
    with mmap.mmap(-1, 4096) as memory:
        memory[:2] = b"ok"
    with tempfile.NamedTemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, 4096)
        os.setxattr(file.name, "user.a", b"b")
        os.copy_file_range(file.fileno(), file.fileno(), 10, 0, 100)
    poller = select.epoll()
    poller.register(os.eventfd(0))
    poller.poll(0)
    os.memfd_create("x")
    os.sched_getaffinity(0)
    os.pidfd_open(os.getpid())
    os.getrandom(8)
    for family in (socket.AF_UNIX, socket.AF_INET6, socket.AF_NETLINK):
        socket.socket(family, socket.SOCK_DGRAM).close()


async def _echo() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 80)
    reader, writer = await asyncio.open_connection("127.0.0.1", 80)
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    writer.close()
    server.close()


def call(number: int, *arguments: int) -> int:
    """0, or the error number of a raw x86_64 system call."""
    return 0 if _libc.syscall(number, *arguments) >= 0 else ctypes.get_errno()


def denied() -> None:
    numbers = {
        "unshare": (272, 0x10000000),
        "setns": (308, 0, 0),
        "keyctl": (250, 0, 0),
        "add_key": (248, 0, 0, 0, 0, 0),
        "bpf": (321, 0, 0, 0),
        "perf_event_open": (298, 0, 0, 0, 0, 0),
        "io_uring_setup": (425, 1, 0),
        "userfaultfd": (323, 0),
        "mount": (165, 0, 0, 0, 0, 0),
        "open_by_handle_at": (304, 0, 0, 0),
        "clone with a user namespace": (56, 0x10000011, 0, 0, 0, 0),
        "personality": (135, 0x0040000),
        "kexec_load": (246, 0, 0, 0, 0),
    }
    for name, arguments in numbers.items():
        assert call(*arguments) == errno.EPERM, name
    assert call(435, 0, 0) == errno.ENOSYS
    for family in (38, 40):  # ALG, VSOCK
        assert call(41, family, 5, 0) == errno.EPERM, family


if __name__ == "__main__":
    works()
    denied()
    sys.stdout.write("all as it should be\n")
