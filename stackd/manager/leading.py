"""What a manager does while it leads: the loops, the servers, the source; all wired here.

Called by `manager.leader` for each term; everything ends together with the term.
"""

import asyncio
import logging
import os
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from stackd.aio.layout import ClusterLayout
from stackd.core.model.cluster import ClusterFile
from stackd.core.model.node import Role
from stackd.core.model.release import Digest, Revision
from stackd.core.model.traffic import TrafficEntry
from stackd.core.network import allocate, ipam, renumber
from stackd.errors import Refused
from stackd.manager import drains, loop, traffic
from stackd.manager.access import Access
from stackd.manager.allocator import allocator
from stackd.manager.analyses import Analyses, Answers
from stackd.manager.api.cluster import ClusterApi
from stackd.manager.api.contents import ContentApi
from stackd.manager.api.deploying import DeployApi
from stackd.manager.api.draining import DrainApi
from stackd.manager.api.events import EventApi
from stackd.manager.api.flags import FlagApi
from stackd.manager.api.freezing import FreezeApi
from stackd.manager.api.history import HistoryApi
from stackd.manager.api.images import ImageApi, RegistryApi
from stackd.manager.api.networks import NetworkApi, VolumeApi
from stackd.manager.api.nodes import NodeApi
from stackd.manager.api.output import OutputApi
from stackd.manager.api.repositories import RepositoryApi
from stackd.manager.api.rollouts import RolloutApi
from stackd.manager.api.stacks import StackApi
from stackd.manager.api.status import StatusApi
from stackd.manager.api.tasks import TaskApi
from stackd.manager.api.waiting import WaitingApi
from stackd.manager.certificates import Authority, Membership
from stackd.manager.checking import Checks
from stackd.manager.commit_statuses import CommitStatuses
from stackd.manager.contents import Contents
from stackd.manager.deployer import Deployer
from stackd.manager.dispatcher import Dispatcher, Surroundings
from stackd.manager.hooks import HookReceiver
from stackd.manager.inbox import Inbox
from stackd.manager.loop import Context
from stackd.manager.methods import Handlers, methods
from stackd.manager.noting import Leader as SourceLeader
from stackd.manager.orchestrator import orchestrator
from stackd.manager.permit import permit
from stackd.manager.reaper import reaper
from stackd.manager.registries import Registries
from stackd.manager.repositories import Repositories
from stackd.manager.rollouts import rollouts
from stackd.manager.scheduler import scheduler
from stackd.manager.source import Places, Source
from stackd.manager.tokens import Tokens
from stackd.pki import authority as pki
from stackd.pki.member import Member, parse_uri
from stackd.pki.request import new_key, new_request
from stackd.registry.blobs import BlobStore
from stackd.registry.service import ImageService, Needs
from stackd.registry.skopeo import Skopeo
from stackd.store.seal import Sealer
from stackd.store.tables import Tables
from stackd.wire.agent_server import AgentServer, EnrolServer
from stackd.wire.control import ControlServer, Method
from stackd.wire.tls import MANAGER_NAME, Identity

log = logging.getLogger(__name__)

SUBNET_BITS = 22
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(slots=True)
class Standing:
    """What the HTTP port, which outlives terms, tells and reaches of this manager."""

    serving: bool = False
    hooks: HookReceiver | None = None
    methods: Mapping[str, Method] = field(default_factory=dict)
    """Empty while it does not lead."""


@dataclass(frozen=True, slots=True)
class Manager:
    """What exists for the life of the process."""

    layout: ClusterLayout
    cluster: ClusterFile
    sealer: Sealer
    authority: pki.Authority
    standing: Standing = field(default_factory=Standing)

    @property
    def address(self) -> str:
        """Where agents find this manager."""
        return f"{self.cluster.address}:{self.cluster.control_port}"

    @property
    def private(self) -> Path:
        """A folder in memory for files that hold credentials for the length of one command."""
        return Path("/dev/shm", f"stackd-{self.cluster.id}")

    @property
    def checks(self) -> Path:
        """A folder in memory where commands of analyses, which are not root, may write."""
        return Path("/dev/shm", f"stackd-{self.cluster.id}-checks")


@dataclass(frozen=True, slots=True)
class _Services:
    """What exists for one term, below the handlers."""

    tokens: Tokens
    registries: Registries
    images: ImageService
    contents: Contents
    deployer: Deployer
    repositories: Repositories
    membership: Membership
    dispatcher: Dispatcher
    inbox: Inbox


async def lead(manager: Manager, context: Context) -> None:
    """Everything that only the leader does, until cancelled."""
    manager.private.mkdir(mode=0o700, exist_ok=True)
    services = _services(manager, context)
    await services.tokens.prepare()
    services.membership.managers = (manager.address,)
    await _renumber(manager, context)
    answers = Answers()
    loops = (
        rollouts(),
        orchestrator(),
        allocator(_allocation(manager.cluster)),
        scheduler(),
        reaper(),
        traffic.LOOP,
        drains.LOOP,
        Analyses(services.inbox, answers).loop(),
    )
    async with asyncio.TaskGroup() as group:
        for one in loops:
            group.create_task(loop.run(one, context), name=f"loop {one.name}")
        group.create_task(services.dispatcher.run(context), name="dispatcher")
        group.create_task(Checks(context, answers, manager.checks).run(), name="checks")
        source = _source(manager, context, services)
        group.create_task(source.run(), name="source")
        told = CommitStatuses(context, services.repositories.status_token)
        group.create_task(told.run(), name="commit statuses")
        manager.standing.hooks = HookReceiver(context, services.repositories, source.look)
        handlers = _handlers(manager, context, services, source)
        group.create_task(_serve(manager, context, services, handlers), name="servers")


def _services(manager: Manager, context: Context) -> _Services:
    tables, fence, clock = context.tables, context.fence, context.clock
    tokens = Tokens(context, manager.sealer, manager.authority.fingerprint)
    registries = Registries(tables, fence, manager.sealer, clock)
    machine = os.uname().machine
    needs = Needs(registries.access, partial(_in_use, tables), ARCHITECTURES.get(machine, machine))
    images = ImageService(BlobStore(manager.layout.blobs), manager.private, needs)
    contents = Contents(context, manager.sealer)
    membership = _membership(manager, context, tokens)
    inbox = Inbox(partial(_logged, tables))
    surroundings = Surroundings(
        node_of=partial(_node_of, manager.cluster.id),
        open_content=contents.open,
        blob_path=images.open_blob,
        renew=membership.renew,
        measured=inbox.put,
        cluster=manager.cluster.id,
        managers=(manager.address,),
        heartbeat=manager.cluster.heartbeat,
    )
    return _Services(
        tokens=tokens,
        registries=registries,
        images=images,
        contents=contents,
        deployer=Deployer(context, contents, images),
        repositories=Repositories(tables, fence, manager.sealer, clock),
        membership=membership,
        dispatcher=Dispatcher(surroundings),
        inbox=inbox,
    )


def _logged(tables: Tables, key: str) -> bool:
    entry = tables.world.get(TrafficEntry, key)
    return entry is not None and entry.logged


def _handlers(manager: Manager, context: Context, services: _Services, source: Source) -> Handlers:
    tables, fence, clock = context.tables, context.fence, context.clock
    return Handlers(
        cluster=ClusterApi(tables, manager.cluster, services.tokens, Access(context)),
        contents=ContentApi(tables, services.contents),
        deploying=DeployApi(tables, services.deployer, source),
        draining=DrainApi(tables, clock),
        events=EventApi(tables),
        freezing=FreezeApi(context),
        flags=FlagApi(context),
        history=HistoryApi(tables),
        images=ImageApi(services.images),
        networks=NetworkApi(tables, fence),
        nodes=NodeApi(context),
        output=OutputApi(tables, services.dispatcher),
        registries=RegistryApi(services.registries, _skopeo(manager).login),
        repositories=RepositoryApi(services.repositories, services.deployer, source),
        rollouts=RolloutApi(context),
        stacks=StackApi(context, services.deployer),
        status=StatusApi(tables, clock),
        tasks=TaskApi(tables),
        volumes=VolumeApi(tables, fence, clock),
        waiting=WaitingApi(tables, clock),
    )


def _skopeo(manager: Manager) -> Skopeo:
    blobs = BlobStore(manager.layout.blobs)
    return Skopeo(blobs.root, blobs.tmp, manager.private)


async def _serve(
    manager: Manager, context: Context, services: _Services, handlers: Handlers
) -> None:
    """The agents' port, the joiners' port and root's socket, until cancelled."""
    identity = _identity(manager, context.clock.now())
    host = manager.cluster.address
    agents = AgentServer(services.dispatcher, identity)
    joiners = EnrolServer(services.membership.join, identity)
    table = methods(handlers)
    control = ControlServer(table, permit)
    await agents.start(manager.address)
    await joiners.start(f"{host}:{manager.cluster.enrol_port}")
    await control.start(manager.layout.control_socket)
    log.info("serving %s and %s", manager.address, manager.layout.control_socket)
    manager.standing.methods, manager.standing.serving = table, True
    try:
        await asyncio.Event().wait()
    finally:
        manager.standing.methods, manager.standing.serving = {}, False
        manager.standing.hooks = None
        await control.stop()
        await joiners.stop()
        await agents.stop()


def _source(manager: Manager, context: Context, services: _Services) -> Source:
    leader = SourceLeader(
        context.tables,
        context.fence,
        context.clock,
        context.ids,
        services.deployer,
        random.random,
    )
    mirrors = manager.layout.manager / "git"
    return Source(leader, Places(mirrors, manager.private, services.repositories.credential))


def _identity(manager: Manager, now: float) -> Identity:
    """A fresh server certificate at each start; its key is never on disk."""
    key = new_key()
    names = pki.ServerNames(dns=(MANAGER_NAME,), addresses=(manager.cluster.address,))
    member = Member(manager.cluster.id, Role.MANAGER, "manager1")
    certificate = manager.authority.sign(new_request(key), member, now, names)
    return Identity(certificate, key, manager.authority.certificate)


def _membership(manager: Manager, context: Context, tokens: Tokens) -> Membership:
    def sign(request: bytes, node: str, role: Role) -> bytes:
        member = Member(manager.cluster.id, role, node)
        return manager.authority.sign(request, member, context.clock.now())

    authority = Authority(tokens.role_of, sign, manager.authority.certificate)
    return Membership(context, authority, manager.cluster.id)


def _node_of(cluster: str, uri: str) -> str:
    """The node id in a certificate of this cluster. Raises Refused."""
    member = parse_uri(uri)
    if member.cluster != cluster:
        raise Refused("The certificate is of another cluster.", "Join this cluster.")
    return member.node


def _allocation(cluster: ClusterFile) -> allocate.Settings:
    return allocate.Settings(cluster.id, ipam.Pool(cluster.pool, SUBNET_BITS))


async def _renumber(manager: Manager, context: Context) -> None:
    """Before any loop runs: `up` may have changed the pool."""
    now, pool = context.clock.now(), _allocation(manager.cluster).pool
    decision = renumber.decide(context.tables.world, pool, now, context.ids.__next__)
    for changes in decision.commits:
        await context.tables.commit(changes, context.fence)


def _in_use(tables: Tables) -> Iterable[str]:
    """Digests that a revision or a recorded tag names: their blobs must stay."""
    for revision in tables.world.all(Revision):
        yield revision.container.image.rpartition("@")[2]
    for digest in tables.world.all(Digest):
        yield digest.digest
