"""Which capabilities a container holds: the baseline nine, plus cap_add, minus cap_drop.

Called by `oci`. Inheritable and ambient sets stay empty always: filling them has been a hole.
"""

from collections.abc import Sequence

from stackd.errors import Rejected

BASELINE = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
)

KNOWN = (
    *BASELINE,
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_DAC_READ_SEARCH",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_PERFMON",
    "CAP_SETFCAP",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
)

ALL = "CAP_ALL"


def granted(add: Sequence[str], drop: Sequence[str], held: Sequence[str]) -> tuple[str, ...]:
    """The sorted capabilities. `ALL` in `drop` empties the baseline, `ALL` in `add` means every
    one that the agent itself holds (`held`) but those in `drop`; a name in both lists is granted,
    as in Docker.

    Raises Rejected for an unknown name, and for one this node cannot give.
    """
    added, dropped = {_name(item) for item in add}, {_name(item) for item in drop}
    base = set(held) if ALL in added else set(BASELINE)
    named = added - {ALL}
    missing = sorted(named - set(held))
    if missing:
        raise Rejected(
            f"This node cannot give the capability {missing[0]}: its agent does not hold it.",
            "Remove it from cap_add or place the service on another node.",
        )
    kept = set() if ALL in dropped else (base - dropped) & set(held)
    return tuple(sorted(kept | named))


def _name(text: str) -> str:
    name = text.upper()
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    if name != ALL and name not in KNOWN:
        raise Rejected(
            f"The capability {text!r} is unknown.",
            "Correct cap_add or cap_drop; see capabilities(7).",
        )
    return name
