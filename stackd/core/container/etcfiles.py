"""The text of the files under /etc that the runtime binds into each container."""

from collections.abc import Mapping, Sequence

_LOCALHOST = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def hosts(hostname: str, addresses: Mapping[str, str], extra: Sequence[str]) -> str:
    """/etc/hosts: localhost, the task's own name at each address, then `name:address` pairs."""
    own = [f"{address}\t{hostname}\n" for _, address in sorted(addresses.items())]
    more = [f"{address}\t{name}\n" for name, _, address in (e.partition(":") for e in extra)]
    return _LOCALHOST + "".join(own or [f"127.0.1.1\t{hostname}\n"]) + "".join(more)


def resolv_conf(resolver: str, servers: Sequence[str], search: Sequence[str]) -> str:
    """/etc/resolv.conf: the node's resolver, which knows service names and asks `servers`
    itself; without a resolver, `servers`."""
    names = [resolver] if resolver else list(servers)
    lines = [f"nameserver {name}\n" for name in names]
    if search:
        lines.append(f"search {' '.join(search)}\n")
    return "".join([*lines, "options ndots:0\n"])
