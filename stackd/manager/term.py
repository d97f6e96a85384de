"""What exists for one term of a leader, below the loops and the handlers, and how it is wired.

Called by `manager.leading`.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from stackd.core.model.node import Role
from stackd.core.model.release import Digest, Revision
from stackd.core.model.requests import Measured
from stackd.core.model.traffic import TrafficEntry
from stackd.core.traffic import effective
from stackd.errors import Refused
from stackd.manager.certificates import Authority, Membership
from stackd.manager.contents import Contents
from stackd.manager.deployer import Deployer
from stackd.manager.dispatcher import Dispatcher, Surroundings
from stackd.manager.inbox import Inbox
from stackd.manager.loop import Context
from stackd.manager.registries import Registries
from stackd.manager.repositories import Repositories
from stackd.manager.shares import Shares
from stackd.manager.standing import Manager
from stackd.manager.tokens import Tokens
from stackd.pki.member import Member, parse_uri
from stackd.registry.blobs import BlobStore
from stackd.registry.service import ImageService, Needs
from stackd.store.tables import Tables

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Term:
    """What the handlers and the servers of a term share."""

    tokens: Tokens
    registries: Registries
    images: ImageService
    contents: Contents
    deployer: Deployer
    repositories: Repositories
    membership: Membership
    dispatcher: Dispatcher
    inbox: Inbox
    shares: Shares


def begin(manager: Manager, context: Context) -> Term:
    """Wire it."""
    tables, fence, clock = context.tables, context.fence, context.clock
    tokens = Tokens(context, manager.sealer, manager.authority.fingerprint)
    registries = Registries(tables, fence, manager.sealer, clock)
    machine = os.uname().machine
    needs = Needs(registries.access, partial(_in_use, tables), ARCHITECTURES.get(machine, machine))
    images = ImageService(BlobStore(manager.layout.blobs), manager.private, needs)
    contents = Contents(context, manager.sealer)
    membership = _membership(manager, context, tokens)
    inbox = Inbox(partial(_logged, tables))
    shares = Shares(partial(_acting, tables))

    def measured(node: str, seen: Measured) -> None:
        inbox.put(node, seen)
        shares.put(node, seen)

    surroundings = Surroundings(
        node_of=partial(_node_of, manager.cluster.id),
        open_content=contents.open,
        blob_path=images.open_blob,
        renew=membership.renew,
        measured=measured,
        cluster=manager.cluster.id,
        managers=(manager.address,),
        heartbeat=manager.cluster.heartbeat,
    )
    return Term(
        tokens=tokens,
        registries=registries,
        images=images,
        contents=contents,
        deployer=Deployer(context, contents, images),
        repositories=Repositories(tables, fence, manager.sealer, clock),
        membership=membership,
        dispatcher=Dispatcher(surroundings),
        inbox=inbox,
        shares=shares,
    )


def _membership(manager: Manager, context: Context, tokens: Tokens) -> Membership:
    def sign(request: bytes, node: str, role: Role) -> bytes:
        member = Member(manager.cluster.id, role, node)
        return manager.authority.sign(request, member, context.clock.now())

    authority = Authority(tokens.role_of, sign, manager.authority.certificate)
    return Membership(context, authority, manager.cluster.id)


def _logged(tables: Tables, key: str) -> bool:
    entry = tables.world.get(TrafficEntry, key)
    return entry is not None and entry.logged


def _acting(tables: Tables, key: str) -> Mapping[str, int]:
    entry = tables.world.get(TrafficEntry, key)
    return effective.weights(entry) if entry is not None else {}


def _node_of(cluster: str, uri: str) -> str:
    """The node id in a certificate of this cluster. Raises Refused."""
    member = parse_uri(uri)
    if member.cluster != cluster:
        raise Refused("The certificate is of another cluster.", "Join this cluster.")
    return member.node


def _in_use(tables: Tables) -> Iterable[str]:
    """Digests that a revision or a recorded tag names: their blobs must stay."""
    for revision in tables.world.all(Revision):
        yield revision.container.image.rpartition("@")[2]
    for digest in tables.world.all(Digest):
        yield digest.digest
