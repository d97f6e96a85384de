"""What an agent is told at its start, kept in its node's folder: `agent.json` and its papers.

Written by whoever makes the node (`up`, `join`), read by `agent.main`.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stackd.aio.files import read_private, write_private
from stackd.aio.layout import NodeLayout
from stackd.core.model.record import Value
from stackd.errors import Refused
from stackd.wire.tls import Identity

NAME = "agent.json"
POLL = 0.02
"""Seconds between two looks for the settings of a node that joins just now."""
CERTIFICATE, KEY, AUTHORITY = "node.crt", "node.key", "ca.crt"


class AgentFile(Value, frozen=True, kw_only=True):
    """`agent.json`. `managers` are HOST:PORT; `index` is the node's number in the cluster, of
    which addresses and MACs are made."""

    node_id: str
    index: int
    managers: tuple[str, ...]
    address: str
    pool: str
    vxlan_port: int = 4789


@dataclass(frozen=True, slots=True)
class Papers:
    """The node's certificate, key and authority, as PEM files in one folder."""

    folder: Path

    @classmethod
    def of(cls, layout: NodeLayout) -> "Papers":
        """Those of a node."""
        return cls(layout.data / "pki")

    def load(self) -> Identity:
        """Raises Refused when the node has none, or others may read the key."""
        found = [read_private(self.folder / name) for name in (CERTIFICATE, KEY, AUTHORITY)]
        certificate, key, authority = found
        if certificate is None or key is None or authority is None:
            raise Refused("This node has no certificate.", "Let it join the cluster again.")
        return Identity(certificate, key, authority)

    def save(self, identity: Identity) -> None:
        """Replace them, each whole or not at all. Raises Unavailable when the disk fails."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.folder / KEY, identity.key)
        write_private(self.folder / CERTIFICATE, identity.certificate)
        write_private(self.folder / AUTHORITY, identity.authority)

    def renewed(self, certificate: bytes, authority: bytes) -> Identity:
        """Keep a new certificate over the same key."""
        write_private(self.folder / CERTIFICATE, certificate)
        write_private(self.folder / AUTHORITY, authority)
        return self.load()


def load(layout: NodeLayout) -> AgentFile:
    """The node's settings. Raises Refused when there are none."""
    try:
        return msgspec.json.decode((layout.data / NAME).read_bytes(), type=AgentFile)
    except (OSError, msgspec.DecodeError) as error:
        raise Refused(
            f"Node {layout.name} has no usable {NAME} in {layout.data}: {error}.",
            "Set the node up again.",
        ) from error


def managers(layout: NodeLayout) -> tuple[str, ...]:
    """Where the node's settings say managers are now: `up` writes it anew when that changes.
    Nowhere while they cannot be read."""
    with contextlib.suppress(Refused):
        return load(layout).managers
    return ()


async def joined(layout: NodeLayout) -> AgentFile:
    """The node's settings as soon as it is a member: `up` starts an agent while its node joins,
    so that one does not wait for the other to be loaded. Raises Refused for unusable settings."""
    while not (layout.data / NAME).exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(POLL)
    return load(layout)


def save(layout: NodeLayout, settings: AgentFile) -> None:
    """Keep the node's settings."""
    layout.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    body = msgspec.json.format(msgspec.json.encode(settings), indent=2)
    write_private(layout.data / NAME, body + b"\n")
