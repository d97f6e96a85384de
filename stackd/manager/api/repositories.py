"""Repositories: `repo add|ls|rm|sync`."""

from stackd.core.model.api import (
    ApproveRequest,
    NameRequest,
    RepoAddRequest,
    RepoRequest,
    RepoRows,
    Text,
)
from stackd.manager.deployer import Deployer
from stackd.manager.repositories import Repositories
from stackd.manager.source import Source
from stackd.wire.control import ROOT_PRINCIPAL, Caller


class RepositoryApi:
    """Handlers about repositories."""

    def __init__(self, repositories: Repositories, deployer: Deployer, source: Source) -> None:
        self._repositories = repositories
        self._deployer = deployer
        self._source = source

    async def add(self, request: RepoAddRequest, caller: Caller) -> Text:
        """Follow a repository. Only root's own socket may name a folder of this machine."""
        local = caller.principal == ROOT_PRINCIPAL
        return await self._repositories.add(request, caller.principal, local_allowed=local)

    async def list(self, request: NameRequest, caller: Caller) -> RepoRows:
        """Every repository."""
        return self._repositories.ls()

    async def remove(self, request: RepoRequest, caller: Caller) -> Text:
        """Stop following."""
        return await self._repositories.rm(request, caller.principal, self._deployer)

    async def sync(self, request: RepoRequest, caller: Caller) -> RepoRows:
        """Look now."""
        return await self._repositories.sync(request)

    async def approve(self, request: ApproveRequest, caller: Caller) -> Text:
        """Let the commit go that waits with this plan."""
        commit = await self._source.approve(request.name, request.plan, caller.principal)
        return Text(text=f"{request.name}: commit {commit[:12]} is approved and being deployed.")
