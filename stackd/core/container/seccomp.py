"""The system calls a container may make: an allow-list, everything else fails with EPERM.

Called by `oci` for every container. Only the machine's own architecture is declared, so 32-bit
and x32 code is killed and cannot go round the rule for socket families. Grouped by subject, so
that a reader can say why a call is here. Not here, on purpose: io_uring, bpf, perf, keyrings,
userfaultfd, kexec, modules, namespaces, mounts, handles, swap, clock setting, raw port access.
"""

from collections.abc import Mapping, Sequence
from typing import Any

EPERM = 1
ENOSYS = 38

_FILES = """
access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync flock fstat
fstatfs fsync ftruncate futimesat getcwd getdents getdents64 lchown link linkat lseek lstat mkdir
mkdirat mknod mknodat newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev
pwritev2 read readahead readlink readlinkat readv rename renameat renameat2 rmdir sendfile splice
stat statfs statx symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat
ustat utime utimensat utimes vmsplice write writev
"""
_ATTRIBUTES = """
fgetxattr flistxattr fremovexattr fsetxattr getxattr lgetxattr listxattr llistxattr lremovexattr
lsetxattr removexattr setxattr
"""
_WATCHING = """
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1
inotify_rm_watch ioctl pipe pipe2 poll ppoll pselect6 select signalfd signalfd4 timerfd_create
timerfd_gettime timerfd_settime
"""
_ASYNC_IO = "io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit"
_MEMORY = """
brk cachestat get_mempolicy madvise map_shadow_stack membarrier memfd_create mincore mlock mlock2
mlockall mmap mprotect mremap msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
process_madvise process_mrelease remap_file_pages
"""
_PROCESSES = """
alarm capget capset execve execveat exit exit_group fork getpgid getpgrp getpid getppid getpriority
getrlimit getrusage getsid ioprio_get ioprio_set kill pause pidfd_open pidfd_send_signal prctl
prlimit64 ptrace restart_syscall seccomp setpgid setpriority setrlimit setsid tgkill times tkill
vfork wait4 waitid landlock_add_rule landlock_create_ruleset landlock_restrict_self
"""
_THREADS = """
futex futex_requeue futex_wait futex_waitv futex_wake get_robust_list get_thread_area getcpu gettid
rseq sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield set_robust_list set_thread_area set_tid_address
"""
_SIGNALS = """
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_tgsigqueueinfo sigaltstack
"""
_USERS = """
getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid setgid setgroups
setregid setresgid setresuid setreuid setuid
"""
_TIME = """
adjtimex clock_adjtime clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep
setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_settime
"""
_SOCKETS = """
accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg
sendmmsg sendmsg sendto setsockopt shutdown socketpair
"""
_SYSTEM_V = """
mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd
semctl semget semop semtimedop shmat shmctl shmdt shmget
"""
_MACHINE = "getrandom sysinfo uname"

_ALWAYS = (
    _FILES, _ATTRIBUTES, _WATCHING, _ASYNC_IO, _MEMORY, _PROCESSES, _THREADS, _SIGNALS, _USERS,
    _TIME, _SOCKETS, _SYSTEM_V, _MACHINE,
)  # fmt: skip

_WITH_CAPABILITY: Mapping[str, str] = {
    "CAP_SYS_ADMIN": """
        fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount
        open_tree quotactl quotactl_fd setdomainname sethostname setns umount umount2 unshare""",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_vm_readv process_vm_writev",
    "CAP_SYS_NICE": "mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_TIME": "clock_settime settimeofday",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYSLOG": "syslog",
    "CAP_DAC_READ_SEARCH": "name_to_handle_at open_by_handle_at",
}
"""Calls that make sense only for whoever was given the capability by `cap_add`."""

_ARCHITECTURE: Mapping[str, tuple[str, str]] = {
    "x86_64": ("SCMP_ARCH_X86_64", "arch_prctl modify_ldt"),
    "aarch64": ("SCMP_ARCH_AARCH64", "sync_file_range2"),
}

_LEGACY = frozenset(
    """
    access alarm chmod chown creat dup2 epoll_create epoll_ctl_old epoll_wait epoll_wait_old eventfd
    fork futimesat get_thread_area getdents getpgrp inotify_init lchown link lstat mkdir mknod open
    pause pipe poll readlink rename rmdir select set_thread_area signalfd stat symlink time unlink
    ustat utime utimes vfork
    """.split()
)
"""Old calls that aarch64 never had."""

_NAMESPACE_FLAGS = 0x7E020000
"""CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}: a plain clone has none of them."""
_SOCKET_FAMILIES = (1, 2, 10, 16, 17)
"""UNIX, INET, INET6, NETLINK, PACKET (needs NET_RAW); so neither ALG nor VSOCK."""
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""Linux, 32-bit, old version number, both, and the query."""


def profile(machine: str, capabilities: Sequence[str]) -> dict[str, Any]:
    """The OCI `linux.seccomp` value for a machine (as uname says) and the capabilities held.

    An unknown machine raises KeyError: stackd knows x86_64 and aarch64.
    """
    architecture, extra = _ARCHITECTURE[machine]
    names = {name for group in (*_ALWAYS, extra) for name in group.split()}
    for capability in capabilities:
        names.update(_WITH_CAPABILITY.get(capability, "").split())
    if machine != "x86_64":
        names -= _LEGACY
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": [architecture],
        "syscalls": [
            _allow(sorted(names)),
            *(_allow(["socket"], 0, family) for family in _SOCKET_FAMILIES),
            *(_allow(["personality"], 0, value) for value in _PERSONALITIES),
            *_clone("CAP_SYS_ADMIN" in capabilities),
        ],
    }


def _clone(namespaces: bool) -> list[dict[str, Any]]:
    """clone3 hides its flags behind a pointer: ENOSYS makes libc fall back to clone."""
    if namespaces:
        return [_allow(["clone", "clone3"])]
    masked = {
        "index": 0,
        "value": _NAMESPACE_FLAGS,
        "valueTwo": 0,
        "op": "SCMP_CMP_MASKED_EQ",
    }
    return [
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [masked]},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
    ]


def _allow(
    names: Sequence[str], index: int | None = None, value: int | None = None
) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": list(names), "action": "SCMP_ACT_ALLOW"}
    if index is not None:
        rule["args"] = [{"index": index, "value": value, "op": "SCMP_CMP_EQ"}]
    return rule
