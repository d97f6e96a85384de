"""The servers of a manager that leads: the agents' port, the joiners' port, root's socket.

The handlers of the control API are wired here. Started by `manager.leading`.
"""

import asyncio
import logging

from stackd.core.model.node import Role
from stackd.manager.access import Access
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
from stackd.manager.loop import Context
from stackd.manager.methods import Handlers, methods
from stackd.manager.permit import permit
from stackd.manager.source import Source
from stackd.manager.standing import Manager
from stackd.manager.term import Term
from stackd.pki import authority as pki
from stackd.pki.member import Member
from stackd.pki.request import new_key, new_request
from stackd.registry.blobs import BlobStore
from stackd.registry.skopeo import Skopeo
from stackd.wire.agent_server import AgentServer, EnrolServer
from stackd.wire.control import ControlServer
from stackd.wire.tls import MANAGER_NAME, Identity

log = logging.getLogger(__name__)


async def serve(manager: Manager, context: Context, term: Term, source: Source) -> None:
    """All three, until cancelled."""
    identity = _identity(manager, context.clock.now())
    host = manager.cluster.address
    agents = AgentServer(term.dispatcher, identity)
    joiners = EnrolServer(term.membership.join, identity)
    table = methods(_handlers(manager, context, term, source))
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


def _handlers(manager: Manager, context: Context, term: Term, source: Source) -> Handlers:
    tables, fence, clock = context.tables, context.fence, context.clock
    return Handlers(
        cluster=ClusterApi(tables, manager.cluster, term.tokens, Access(context)),
        contents=ContentApi(tables, term.contents),
        deploying=DeployApi(tables, term.deployer, source),
        draining=DrainApi(tables, clock),
        events=EventApi(tables),
        freezing=FreezeApi(context),
        flags=FlagApi(context),
        history=HistoryApi(tables),
        images=ImageApi(term.images),
        networks=NetworkApi(tables, fence),
        nodes=NodeApi(context),
        output=OutputApi(tables, term.dispatcher),
        registries=RegistryApi(term.registries, _skopeo(manager).login),
        repositories=RepositoryApi(term.repositories, term.deployer, source),
        rollouts=RolloutApi(context),
        stacks=StackApi(context, term.deployer),
        status=StatusApi(tables, clock, term.shares.of),
        tasks=TaskApi(tables),
        volumes=VolumeApi(tables, fence, clock),
        waiting=WaitingApi(tables, clock),
    )


def _skopeo(manager: Manager) -> Skopeo:
    blobs = BlobStore(manager.layout.blobs)
    return Skopeo(blobs.root, blobs.tmp, manager.private)


def _identity(manager: Manager, now: float) -> Identity:
    """A fresh server certificate at each start; its key is never on disk."""
    key = new_key()
    names = pki.ServerNames(dns=(MANAGER_NAME,), addresses=(manager.cluster.address,))
    member = Member(manager.cluster.id, Role.MANAGER, "manager1")
    certificate = manager.authority.sign(new_request(key), member, now, names)
    return Identity(certificate, key, manager.authority.certificate)
