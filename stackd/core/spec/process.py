"""Small sections of a service that shape its process: command, signals, capabilities, ulimits."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator

from stackd.core.model.container import Ulimit
from stackd.core.spec.fields import Keys, Section, Text, fault, matching, parsed, whole
from stackd.core.spec.scalars import shown

SIGNALS: Mapping[int, str] = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS",
    8: "SIGFPE", 9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE",
    14: "SIGALRM", 15: "SIGTERM", 16: "SIGSTKFLT", 17: "SIGCHLD", 18: "SIGCONT", 19: "SIGSTOP",
    20: "SIGTSTP", 21: "SIGTTIN", 22: "SIGTTOU", 23: "SIGURG", 24: "SIGXCPU", 25: "SIGXFSZ",
    26: "SIGVTALRM", 27: "SIGPROF", 28: "SIGWINCH", 29: "SIGIO", 30: "SIGPWR", 31: "SIGSYS",
}  # fmt: skip

# Each of these opens the node: they wait for a policy of the node that allows them.
GUARDED = frozenset(
    {
        "ALL", "BPF", "DAC_READ_SEARCH", "MAC_ADMIN", "MAC_OVERRIDE", "PERFMON", "SYSLOG",
        "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE", "SYS_RAWIO", "SYS_TIME",
    }
)  # fmt: skip
KNOWN = frozenset(
    {
        "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "CHECKPOINT_RESTORE",
        "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE",
        "LINUX_IMMUTABLE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW",
        "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT", "SYS_NICE", "SYS_PACCT",
        "SYS_PTRACE", "SYS_RESOURCE", "SYS_TTY_CONFIG", "WAKE_ALARM",
    }
)  # fmt: skip
ULIMITS = (
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
    "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip
_MAX_LIMIT = 2**63 - 1
_SIGNAL = r"[A-Za-z0-9]{1,12}([+-][0-9]{1,2})?"
_REAL_TIME = re.compile(r"SIGRT(MIN(\+([1-9]|[12][0-9]|30))?|MAX(-([1-9]|[12][0-9]|30))?)")
"""As init systems take them: SIGRTMIN+3."""


def _words(data: Any) -> Any:
    """A text is split as a shell would, without running one; lists stay."""
    if not isinstance(data, str):
        return data
    try:
        return shlex.split(data)
    except ValueError as error:
        raise fault(f"{shown(data)} cannot be split into words: {error}") from error


Command = Annotated[list[Text], BeforeValidator(_words, json_schema_input_type=Text | list[Text])]


def signal(text: str) -> str:
    """The name of a signal given by name, with or without SIG, or by number.

    Raises:
        ValueError: there is no such signal.
    """
    if text.isdecimal() and len(text) < 3 and int(text) in SIGNALS:
        return SIGNALS[int(text)]
    name = text.upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    if name in SIGNALS.values() or _REAL_TIME.fullmatch(name):
        return name
    raise ValueError(f"{shown(text)} is not a signal: write it like SIGTERM")


def capability(text: str, *, add: bool) -> str:
    """`CAP_X` for a capability given with or without CAP_, in any case.

    Raises:
        ValueError: it does not exist, or must not be added.
    """
    name = text.upper().removeprefix("CAP_")
    if name not in KNOWN | GUARDED:
        raise ValueError(f"{shown(text)} is not a capability: write it like NET_ADMIN")
    if add and name in GUARDED:
        raise ValueError(f"cap_add {name} is not supported yet: it would open the node itself")
    return f"CAP_{name}"


def _adding(text: str) -> str:
    return capability(text, add=True)


def _dropping(text: str) -> str:
    return capability(text, add=False)


_CAPABILITY = r"[A-Za-z_]{2,32}"
CapAdd = Annotated[str, parsed(_adding), matching(_CAPABILITY, "a capability")]
CapDrop = Annotated[str, parsed(_dropping), matching(_CAPABILITY, "a capability")]
StopSignal = Annotated[str, parsed(signal), matching(_SIGNAL, "a signal")]


Limit = Annotated[int, whole(-1, _MAX_LIMIT)]


class UlimitSection(Section):
    """One of `ulimits`."""

    soft: Limit
    hard: Limit


def _both(data: Any) -> Any:
    return {"soft": data, "hard": data} if isinstance(data, str) else data


UlimitItem = Annotated[
    UlimitSection, BeforeValidator(_both, json_schema_input_type=Limit | UlimitSection)
]
_UlimitName = Annotated[str, matching("|".join(ULIMITS), "a ulimit: use one of setrlimit(2)")]
Ulimits = Annotated[dict[_UlimitName, UlimitItem], Keys("|".join(ULIMITS))]


def ulimits(section: Mapping[str, UlimitSection] | None) -> dict[str, Ulimit]:
    """The ulimits by name.

    Raises:
        ValueError: a soft limit is above its hard limit.
    """
    for name, given in (section or {}).items():
        if given.hard != -1 and (given.soft == -1 or given.soft > given.hard):
            raise ValueError(f"the soft limit of {name} is above its hard limit")
    return {name: Ulimit(soft=g.soft, hard=g.hard) for name, g in (section or {}).items()}


def optional(words: Sequence[str] | None) -> tuple[str, ...] | None:
    """A command as a tuple; None stays None (the image's)."""
    return None if words is None else tuple(words)
