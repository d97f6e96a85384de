"""The cluster itself: `cluster show`, `token …`, version."""

from stackd import __version__
from stackd.core.model.api import (
    ClusterAnswer,
    NameRequest,
    Text,
    TokenCreated,
    TokenCreateRequest,
    TokenRequest,
    TokenRows,
)
from stackd.core.model.cluster import ClusterFile
from stackd.core.model.node import Node, Role
from stackd.core.model.release import Stack
from stackd.core.model.task import Task
from stackd.errors import Refused
from stackd.manager.access import Access
from stackd.manager.tokens import Tokens
from stackd.store.tables import Tables
from stackd.wire.control import Caller


class ClusterApi:
    """Handlers about the cluster."""

    def __init__(
        self, tables: Tables, cluster: ClusterFile, tokens: Tokens, access: Access
    ) -> None:
        self._tables = tables
        self._access = access
        self._cluster = cluster
        self._tokens = tokens

    async def show(self, request: NameRequest, caller: Caller) -> ClusterAnswer:
        """What it is made of."""
        world = self._tables.world
        local = f"127.0.0.1:{self._cluster.http_port}"
        settings = {
            "pool": self._cluster.pool,
            "heartbeat": f"{self._cluster.heartbeat:g}s",
            "http": ", ".join(filter(None, (local, self._cluster.http_listen))),
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

    async def create_token(self, request: TokenCreateRequest, caller: Caller) -> TokenCreated:
        """A token for the JSON API."""
        return await self._access.create(request, caller.principal)

    async def tokens(self, request: NameRequest, caller: Caller) -> TokenRows:
        """The tokens for the JSON API."""
        return self._access.list()

    async def remove_token(self, request: NameRequest, caller: Caller) -> Text:
        """Make a token for the JSON API void."""
        return Text(text=await self._access.remove(request.name, caller.principal))

    async def version(self, request: NameRequest, caller: Caller) -> Text:
        """The manager's version."""
        return Text(text=__version__)


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError as error:
        raise Refused(f"{text} is not a role.", "It is worker or manager.") from error
