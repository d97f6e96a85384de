"""What this node's kernel allows its agent, which bounds what containers can be given."""

import os
import resource
from pathlib import Path

from stackd.core.container import capabilities, oci, profile

_CAPABILITY_NUMBERS = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"),
    *("SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW"),
    *("IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE"),
    *("SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME"),
    *("SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ"),
    *("PERFMON", "BPF", "CHECKPOINT_RESTORE"),
)
"""In the order of the kernel's numbers."""


def gather() -> oci.NodeFacts:
    """The facts of the calling process and its machine."""
    return oci.NodeFacts(
        machine=os.uname().machine,
        capabilities=_held(),
        rlimits=_hard_limits(),
        oom_score_adj=int(Path("/proc/self/oom_score_adj").read_text()),
        mqueue="mqueue" in Path("/proc/filesystems").read_text().split(),
        thermal=tuple(
            str(path)
            for path in sorted(Path("/sys/devices/system/cpu").glob("cpu*/thermal_throttle"))
        ),
    )


def _held() -> tuple[str, ...]:
    text = Path("/proc/self/status").read_text()
    bounding = next(line for line in text.splitlines() if line.startswith("CapBnd:"))
    bits = int(bounding.split()[1], 16)
    names = (f"CAP_{name}" for at, name in enumerate(_CAPABILITY_NUMBERS) if bits >> at & 1)
    return tuple(name for name in names if name in capabilities.KNOWN)


def _hard_limits() -> dict[str, int]:
    limits: dict[str, int] = {}
    for name in profile.RLIMIT_NAMES:
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is not None:
            limits[name] = resource.getrlimit(number)[1]
    return limits
