"""The cluster itself: `cluster show`, `token show|rotate`, version."""

from stackd import __version__
from stackd.core.model.api import ClusterAnswer, NameRequest, Text, TokenRequest
from stackd.core.model.cluster import ClusterFile
from stackd.core.model.node import Node, Role
from stackd.core.model.release import Stack
from stackd.core.model.task import Task
from stackd.errors import Refused
from stackd.manager.tokens import Tokens
from stackd.store.tables import Tables
from stackd.wire.control import Caller


class ClusterApi:
    """Handlers about the cluster."""

    def __init__(self, tables: Tables, cluster: ClusterFile, tokens: Tokens) -> None:
        self._tables = tables
        self._cluster = cluster
        self._tokens = tokens

    async def show(self, request: NameRequest, caller: Caller) -> ClusterAnswer:
        """What it is made of."""
        world = self._tables.world
        settings = {
            "pool": self._cluster.pool,
            "heartbeat": f"{self._cluster.heartbeat:g}s",
            "http": f"127.0.0.1:{self._cluster.http_port}",
        }
        return ClusterAnswer(
            id=self._cluster.id,
            version=__version__,
            managers=(f"{self._cluster.address}:{self._cluster.control_port}",),
            nodes=sum(1 for _ in world.all(Node)),
            stacks=sum(1 for _ in world.all(Stack)),
            tasks=sum(v.live for t in world.all(Task) if (v := world.task(t.id)) is not None),
            settings=settings,
        )

    async def token(self, request: TokenRequest, caller: Caller) -> Text:
        """The join token of a role."""
        return Text(text=self._tokens.show(_role(request.role)))

    async def rotate(self, request: TokenRequest, caller: Caller) -> Text:
        """A new join token; the old one is void."""
        return Text(text=await self._tokens.rotate(_role(request.role)))

    async def version(self, request: NameRequest, caller: Caller) -> Text:
        """The manager's version."""
        return Text(text=__version__)


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError as error:
        raise Refused(f"{text} is not a role.", "It is worker or manager.") from error
