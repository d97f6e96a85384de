"""Giving up what a helper that handles strangers' bytes does not need.

`git.environment` and `manager.checks` run this file as a script that becomes git or a check, so
nothing of stackd is imported here; the unpacker calls the functions. Afterwards the program holds
no capability (root's files are its own, nobody else's), or is another user; it sees the file
system through Landlock, has limits, and has no network unless it is to talk to a remote. Where the
kernel has no Landlock or the caller is not root, the rest still holds.
"""

import ctypes
import json
import os
import resource
import struct
import sys
from collections.abc import Sequence

_CAPABILITIES_3 = 0x20080522
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""Version of Landlock -> how many rights it knows of files; later ones know 16."""
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_SCOPES = 3
"""No signal to a process outside, and no abstract socket of one."""
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_NEW_NET, _NEW_IPC = 0x40000000, 0x08000000
_CAPBSET_DROP, _NO_NEW_PRIVS = 24, 38
_READ_EVERYTHING = 2
"""CAP_DAC_READ_SEARCH: a local repository may belong to anybody."""
_MOST_CAPABILITIES = 64
_MOST_PROCESSES = 512
"""Of one user, who is nobody else."""
NOT_STARTED = 126
"""The exit code when the program cannot be started."""

_libc = ctypes.CDLL(None, use_errno=True)


def landlock(reads: Sequence[str], writes: Sequence[str]) -> bool:
    """Allow reading and executing below `reads`, everything below `writes`, nothing else. False
    when the kernel has no Landlock."""
    version = int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION))
    if version < 1:
        return False
    every = (1 << _RIGHTS.get(version, 16)) - 1
    wanted = struct.pack("=QQQ", every, 0, _SCOPES)[: 24 if version >= 6 else 8]
    rules = int(_libc.syscall(_CREATE_RULESET, wanted, ctypes.c_size_t(len(wanted)), 0))
    if rules < 0:
        return False
    for rights, paths in ((_READ, reads), (every, writes)):
        for path in paths:
            _allow(rules, rights & every, path)
    done = int(_libc.syscall(_RESTRICT_SELF, rules, 0))
    os.close(rules)
    return done == 0


def _allow(rules: int, rights: int, path: str) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # it is not there
    if not os.path.isdir(path):
        rights &= _OF_FILES
    beneath = struct.pack("=Qi", rights, handle)
    _libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, beneath, 0)
    os.close(handle)


def drop_capabilities(kept: Sequence[int]) -> None:
    """None but `kept` can be had again after the next exec."""
    for number in range(_MOST_CAPABILITIES):
        if number not in kept:
            _libc.prctl(_CAPBSET_DROP, number, 0, 0, 0)


def keep_capabilities(kept: Sequence[int]) -> None:
    """This process itself has no other from now on. Raises OSError."""
    mask = sum(1 << number for number in kept)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("=Ii", _CAPABILITIES_3, 0)
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    if _libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def main(job: dict[str, object], argv: list[str]) -> None:
    """Never returns. `argv[0]` is a path: nothing can be looked for or imported any more."""
    size, memory = int(str(job["size"])), int(str(job["memory"]))
    for limit, most in (
        (resource.RLIMIT_FSIZE, size),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    if not job["network"]:
        _libc.unshare(_NEW_NET | _NEW_IPC)
    user = job.get("user")
    if user is not None:
        resource.setrlimit(resource.RLIMIT_NPROC, (_MOST_PROCESSES, _MOST_PROCESSES))
    drop_capabilities((_READ_EVERYTHING,) if job["foreign"] else ())
    if user is not None and os.geteuid() == 0:
        os.setgroups([])
        os.setgid(int(str(user)))
        os.setuid(int(str(user)))
    _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    reads, writes = job["reads"], job["writes"]
    assert isinstance(reads, list)
    assert isinstance(writes, list)
    landlock(reads, [*writes, "/dev/null", "/dev/tty"])
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        sys.stderr.write(f"{argv[0]} cannot be started: {error.strerror}\n")
        sys.exit(NOT_STARTED)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
