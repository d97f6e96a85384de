"""Who becomes a member and who stays one: join by token, and renewal of node certificates.

The cryptography is in `pki`; here a joiner becomes a Node record with an index of its own.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from stackd.core.model.event import Event
from stackd.core.model.ids import NodeId
from stackd.core.model.node import Node, Role
from stackd.core.model.record import Changes, Put
from stackd.core.model.world import World
from stackd.errors import Conflict, Refused
from stackd.manager.loop import Context
from stackd.wire.agent_server import Joined, Joiner
from stackd.wire.messages import Certificate

TRIES = 5
MAX_INDEX = 65535
CSR_BYTES = 8 * 1024
NAME_LENGTH = 63


@dataclass(frozen=True, slots=True)
class Authority:
    """The certificate authority, as functions. `role_of`: token -> role, raises Refused with one
    text for all faults; `sign`: (CSR, node id, role) -> PEM, raises Refused."""

    role_of: Callable[[str], Role]
    sign: Callable[[bytes, str, Role], bytes]
    certificate: bytes
    """PEM."""


class Membership:
    """Used by the enrolment port and by the dispatcher's renewals."""

    def __init__(self, context: Context, authority: Authority, cluster: str) -> None:
        self._context = context
        self._authority = authority
        self._cluster = cluster
        self.managers: tuple[str, ...] = ()
        self._one = asyncio.Lock()

    async def join(self, joiner: Joiner) -> Joined:
        """A new member. Raises Refused for a bad token, name or CSR."""
        role = self._authority.role_of(joiner.token)
        if len(joiner.csr) > CSR_BYTES:
            raise Refused("The certificate request is too large.")
        node_id = NodeId(secrets.token_hex(6))
        certificate = self._authority.sign(joiner.csr, node_id, role)
        node = await self.add(node_id, joiner.name, role)
        return Joined(
            node_id,
            certificate,
            self._authority.certificate,
            self._cluster,
            self.managers,
            node.index,
        )

    async def renew(self, node: str, csr: bytes) -> Certificate:
        """A new certificate for a member, with the role it has now. Raises Refused."""
        member = self._context.tables.world.get(Node, node)
        if member is None or len(csr) > CSR_BYTES:
            raise Refused(f"Node {node} gets no certificate.")
        signed = self._authority.sign(csr, node, member.role)
        return Certificate(signed, self._authority.certificate)

    async def add(self, node_id: NodeId, name: str, role: Role) -> Node:
        """Record a member under a name that is free, with a free index. Also for the nodes that
        `up` makes on its own machine. Raises Refused."""
        async with self._one:  # two at once would find the same name and index free
            return await self._add(node_id, name, role)

    async def _add(self, node_id: NodeId, name: str, role: Role) -> Node:
        for _ in range(TRIES):
            world = self._context.tables.world
            node = Node(id=node_id, name=_free_name(world, name), role=role, index=_index(world))
            event = Event(
                id=next(self._context.ids),
                at=self._context.clock.now(),
                kind="node.joined",
                object=node.name,
                principal=f"node:{node_id}",
                text=f"node {node.name} joined as {role}",
            )
            changes = Changes(changes=(Put(record=node), Put(record=event)))
            try:
                await self._context.tables.commit(changes, self._context.fence)
            except Conflict:
                continue
            return node
        raise Conflict("Other nodes keep joining at the same time.", "Try again.")


def _free_name(world: World, wanted: str) -> str:
    base = "".join(c if c.isalnum() or c in "-_" else "-" for c in wanted.lower())
    base = base.strip("-")[:NAME_LENGTH] or "node"
    taken = {node.name for node in world.all(Node)}
    names = (base if n == 1 else f"{base}-{n}" for n in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def _index(world: World) -> int:
    taken = {node.index for node in world.all(Node)}
    for index in range(1, MAX_INDEX + 1):
        if index not in taken:
            return index
    raise Refused("The cluster has no room for another node.")
