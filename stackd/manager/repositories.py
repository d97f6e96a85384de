"""`repo add|ls|rm|sync`: what the control API does with repositories.

The source loop does the following; here are only records. Credentials are sealed before they
reach the store.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from stackd.aio.clock import Clock
from stackd.core.model.api import RepoAddRequest, RepoRequest, RepoRow, RepoRows, Text
from stackd.core.model.ids import OBJECT_NAME
from stackd.core.model.record import Changes, Delete, Put, ref
from stackd.core.model.release import Stack
from stackd.core.model.source import Forge, Repository, RepositoryStatus, Revert
from stackd.core.model.times import rfc3339
from stackd.core.rollout.refused import words
from stackd.errors import Conflict, Refused, Unknown
from stackd.git.environment import Credential
from stackd.git.urls import Address, Scheme, check_ref, check_url
from stackd.git.watch import git_folder
from stackd.manager.requests import StackDeployer
from stackd.manager.sealed import Secrets, asked, opened, sealed
from stackd.store.seal import Sealer
from stackd.store.tables import Fence, Tables
from stackd.web import forges

SHORTEST_INTERVAL = 1.0
LONGEST_INTERVAL = 86_400.0
"""Seconds between polls."""


@dataclass(frozen=True, slots=True)
class Repositories:
    """The repositories that the cluster follows."""

    tables: Tables
    fence: Fence | None
    sealer: Sealer
    clock: Clock

    async def add(self, request: RepoAddRequest, by: str, *, local_allowed: bool) -> Text:
        """Follow a repository from now on. `local_allowed`: the caller is root on this machine,
        who may name a folder. Raises Refused."""
        if not OBJECT_NAME.fullmatch(request.name):
            raise Refused(f"{request.name!r} is not a name.", "Use letters, digits, _ and -.")
        if self.tables.world.get(Repository, request.name) is not None:
            raise Refused(
                f"There is a repository {request.name} already.",
                f"Remove it first: stackd repo rm {request.name}",
            )
        local = local_allowed and request.url.startswith("/")
        address = check_url(request.url, local=local)
        if local:
            git_folder(Path(request.url))
        _check_credentials(address, request)
        forge, status_url = status_of(request, address)
        record = Repository(
            name=request.name,
            url=request.url,
            local=local,
            path=_folder(request.path),
            ref=check_ref(request.ref),
            interval=_interval(request.interval),
            prune=request.prune,
            allow_empty=request.allow_empty,
            variables=request.variables,
            credential=sealed(self.sealer, request.name, asked(request)),
            webhook=bool(request.webhook_secret),
            known_hosts=request.known_hosts,
            forge=forge,
            status_url=status_url,
            revert_branch=_other_branch(request),
            manual=_manual(request),
            added=self.clock.now(),
            by=by,
        )
        status = RepositoryStatus(name=request.name)
        changes = (Put(record=record), Put(record=status))
        await self.tables.commit(Changes(changes=changes), self.fence)
        return Text(text=f"Following {request.url} as {request.name}.")

    def secrets(self, repository: Repository) -> Secrets:
        """The clear secrets of a repository. Raises Corrupt."""
        return opened(self.sealer, repository)

    def status_token(self, repository: Repository) -> str:
        """The clear token that may set the status of commits. Raises Corrupt."""
        return self.secrets(repository).status.decode("utf-8", "replace")

    def credential(self, repository: Repository) -> Credential:
        """The clear credential, for the source loop. Raises Corrupt."""
        secrets = self.secrets(repository)
        return Credential(secrets.ssh_key, repository.known_hosts, secrets.token)

    def ls(self) -> RepoRows:
        """Every repository with what the source loop last saw."""
        return RepoRows(repositories=tuple(map(self._row, self.tables.world.all(Repository))))

    def _row(self, repository: Repository) -> RepoRow:
        found = self.tables.world.get(RepositoryStatus, repository.name)
        status = found or RepositoryStatus(name=repository.name)
        return RepoRow(
            name=repository.name,
            url=repository.url,
            ref=repository.ref,
            path=repository.path,
            commit=status.commit,
            checked=rfc3339(status.checked),
            error=status.error,
            problems=status.problems,
            stacks=tuple(head.name for head in self._owned(repository.name)),
            webhook=f"/hooks/{repository.name}" if repository.webhook else "",
            status_url=repository.status_url,
            reverts=tuple(words(one) for one in self._reverts(repository.name)),
            approve="manual" if repository.manual else "",
            waiting=status.waiting,
            plan=status.plan,
            planned=status.planned if status.waiting else (),
        )

    async def rm(self, request: RepoRequest, by: str, deployer: StackDeployer) -> Text:
        """Stop following. Its stacks stay, owned by `cli`; with `prune` they are removed.
        Raises Refused when there is no such repository."""
        self._known(request.name)
        count = await self._release(request, by, deployer)
        await self._forget(request.name)
        count += await self._release(request, by, deployer)  # what was deployed meanwhile
        done = "are being removed" if request.prune else "stay, owned by cli"
        return Text(text=f"No longer following {request.name}; {count} stacks {done}.")

    async def _forget(self, name: str) -> None:
        while True:
            gone = [ref(Repository, name), ref(RepositoryStatus, name)]
            gone += [ref(Revert, revert.key) for revert in self._reverts(name)]
            try:
                deletes = tuple(Delete(ref=place) for place in gone)
                await self.tables.commit(Changes(changes=deletes), self.fence)
                return
            except Conflict:  # the source loop has just noted something
                continue

    async def _release(self, request: RepoRequest, by: str, deployer: StackDeployer) -> int:
        """The repository's stacks become the command line's, or go."""
        heads = self._owned(request.name)
        for head in heads:
            if request.prune and not head.removing:
                await deployer.remove(head.name, by)
            await self._disown(head.name)
        return len(heads)

    async def _disown(self, stack: str) -> None:
        while (head := self.tables.world.get(Stack, stack)) is not None:
            freed = msgspec.structs.replace(head, owner="cli", seen_commit="", path="", problem="")
            try:
                await self.tables.commit(Changes(changes=(Put(record=freed),)), self.fence)
                return
            except Conflict:
                continue

    async def sync(self, request: RepoRequest) -> RepoRows:
        """Look at once; with `pull` resolve image tags again; with `wait` return when done.
        Raises Refused when there is no such repository."""
        repository = self._known(request.name)
        if request.pull and repository.manual:
            raise Refused(
                f"{request.name} takes nothing that is not approved.", "Change the image in Git."
            )
        number = await self._ask(request)
        if request.wait:
            await self._done(request.name, number)
        return RepoRows(repositories=(self._row(repository),))

    async def _ask(self, request: RepoRequest) -> int:
        while True:
            found = self.tables.world.get(RepositoryStatus, request.name)
            status = found or RepositoryStatus(name=request.name)
            asked = msgspec.structs.replace(
                status,
                sync_requested=status.sync_requested + 1,
                sync_pull=status.sync_pull or request.pull,
            )
            try:
                await self.tables.commit(Changes(changes=(Put(record=asked),)), self.fence)
                return asked.sync_requested
            except Conflict:
                continue

    async def _done(self, name: str, number: int) -> None:
        subscription = self.tables.subscribe(RepositoryStatus)
        try:
            while True:
                await subscription.next()
                status = self.tables.world.get(RepositoryStatus, name)
                if status is None or status.sync_done >= number:
                    return
        finally:
            self.tables.unsubscribe(subscription)

    def _reverts(self, name: str) -> list[Revert]:
        return [one for one in self.tables.world.all(Revert) if one.repository == name]

    def _owned(self, name: str) -> list[Stack]:
        return [head for head in self.tables.world.all(Stack) if head.owner == f"repo:{name}"]

    def _known(self, name: str) -> Repository:
        found = self.tables.world.get(Repository, name)
        if found is None:
            raise Unknown(f"There is no repository {name}.", "See: stackd repo ls")
        return found


def _check_credentials(address: Address, request: RepoAddRequest) -> None:
    """Credentials that fit the address. Raises Refused."""
    if request.ssh_key and request.token:
        raise Refused("An ssh key and a token exclude each other.", "Give one of them.")
    match address.scheme:
        case Scheme.SSH if not request.ssh_key or not request.known_hosts:
            raise Refused(
                "A repository over ssh needs a key and the server's host key.",
                "Give --ssh-key FILE --known-hosts FILE (see ssh-keyscan).",
            )
        case Scheme.HTTPS if request.ssh_key:
            raise Refused("An https address takes no ssh key.", "Give --token-file.")
        case Scheme.SSH if request.token:
            raise Refused("An ssh address takes no token.", "Give --ssh-key.")
        case Scheme.FILE if request.ssh_key or request.token:
            raise Refused("A local repository takes no credential.")
        case _:
            pass


def status_of(request: RepoAddRequest, address: Address) -> tuple[Forge | None, str]:
    """Who is told the status of commits, and where; by default where the repository is. Raises
    Refused."""
    if not request.status:
        if request.status_url or request.status_token:
            raise Refused("It is not said whose status API it is.", "Add --status FORGE.")
        return None, ""
    if request.status not in list(Forge):
        raise Refused(f"{request.status!r} is not a known forge.", f"Use {', '.join(Forge)}.")
    if not request.status_token:
        raise Refused("Statuses of commits need a token.", "Add --status-token-file FILE.")
    forge = Forge(request.status)
    if request.status_url:
        return forge, forges.check_api(request.status_url)
    if not address.host:
        raise Refused("A local repository has no forge.", "Name its API with --status-url.")
    return forge, forges.api_of(forge, address.host, address.path)


def _other_branch(request: RepoAddRequest) -> str:
    branch = check_ref(request.revert_branch)
    if branch and branch == request.ref.removeprefix("refs/heads/"):
        raise Refused(
            f"{branch} is the branch that is followed.", "Name another with --revert-branch."
        )
    return branch


def _manual(request: RepoAddRequest) -> bool:
    if request.approve not in ("", "manual"):
        raise Refused(f"--approve {request.approve} is not known.", "Use --approve manual.")
    return request.approve == "manual"


def _folder(path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or not path.isprintable():
        raise Refused(f"{path!r} is not a folder within the repository.", "Check --path.")
    return "/".join(parts)


def _interval(seconds: float) -> float:
    if not SHORTEST_INTERVAL <= seconds <= LONGEST_INTERVAL:
        raise Refused("The interval is out of bounds.", "Give 1s to 24h with --interval.")
    return seconds
