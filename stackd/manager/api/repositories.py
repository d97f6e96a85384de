"""Repositories: `repo add|ls|rm|sync`."""

from stackd.core.model.api import NameRequest, RepoAddRequest, RepoRequest, RepoRows, Text
from stackd.manager.deployer import Deployer
from stackd.manager.repositories import Repositories
from stackd.wire.control import ROOT_PRINCIPAL, Caller


class RepositoryApi:
    """Handlers about repositories."""

    def __init__(self, repositories: Repositories, deployer: Deployer) -> None:
        self._repositories = repositories
        self._deployer = deployer

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
