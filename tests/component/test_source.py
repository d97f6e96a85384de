"""The source: a commit becomes deployments of exactly the stacks whose files changed."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from stackd.aio.clock import SystemClock
from stackd.core.model.api import CompareRequest, RepoAddRequest, RepoRequest
from stackd.core.model.event import Event
from stackd.core.model.record import Changes, Delete, Put, Record, ref
from stackd.core.model.release import Stack
from stackd.core.model.source import Repository, RepositoryStatus
from stackd.core.plan.make import Plan
from stackd.errors import Refused, StackdError, Unavailable
from stackd.git.environment import Credential, Git
from stackd.git.repo import GitRepo
from stackd.git.trees import Objects
from stackd.git.urls import check_url
from stackd.manager.follow import Follower
from stackd.manager.noting import Leader
from stackd.manager.repositories import Repositories
from stackd.manager.requests import Deploy, Deployed, Planned
from stackd.manager.source import Places, Source
from stackd.store.seal import Sealer
from stackd.store.tables import Tables
from tests.fakes.gitrepo import Repo
from tests.fakes.harness import counted_ids
from tests.fakes.store import FakeStore

STACK = "services: {web: {image: 'example/web:%s'}}\n"


class FakeDeployer:
    """Keeps heads of stacks as the real one does; `failures` by stack."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.deployed: list[Deploy] = []
        self.removed: list[str] = []
        self.failures: dict[str, StackdError] = {}
        self.unresolved: dict[str, str] = {}

    async def plan(self, request: Deploy) -> Planned:
        raise Refused(f"Nobody approves {request.spec.name}.")

    async def deploy(self, request: Deploy) -> Deployed:
        name = request.spec.name
        if name in self.failures:
            raise self.failures[name]
        head = self._tables.world.get(Stack, name)
        if head is not None and head.owner != request.owner:
            raise Refused(f"{name} is owned by {head.owner}.", "Adopt it.")
        self.deployed.append(request)
        await self._put(
            Stack(
                name=name,
                owner=request.owner,
                release=head.release + 1 if head else 1,
                commit=request.commit,
                seen_commit=request.commit,
                path=request.path,
            )
        )
        plan = Plan(
            stack=name, owner=request.owner, base=0, spec=request.spec, services={}, revisions=(),
            changes=(), content_hash="", hash="",
        )  # fmt: skip
        failed = {"web": self.unresolved[name]} if name in self.unresolved else {}
        return Deployed(1, True, plan, (), failed)

    async def seen(self, stack: str, commit: str, problem: str) -> None:
        head = self._tables.world.get(Stack, stack)
        assert head is not None
        await self._put(msgspec.structs.replace(head, seen_commit=commit, problem=problem))

    async def remove(self, stack: str, by: str, *, volumes: bool = False, cause: str = "") -> None:
        head = self._tables.world.get(Stack, stack)
        assert head is not None
        self.removed.append(stack)
        await self._put(msgspec.structs.replace(head, removing=True))

    async def _put(self, record: Record) -> None:
        await self._tables.commit(Changes(changes=(Put(record=record),)))

    def take(self) -> list[str]:
        """Names deployed since the last call."""
        names = sorted(request.spec.name for request in self.deployed)
        self.deployed.clear()
        return names


class Rig:
    """A repository called `ops`, and a leader's parts around a store in memory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.private = root / "private"
        self.private.mkdir()
        self.source = Repo(root / "source")
        clock = SystemClock()
        self.tables = Tables(FakeStore(clock), clock)
        self.deployer = FakeDeployer(self.tables)
        self.leader = Leader(self.tables, None, clock, counted_ids(), self.deployer, lambda: 0.5)
        self.repository = Repository(
            name="ops", url=str(self.source.path), local=True, interval=3600.0
        )
        self.followers: list[GitRepo] = []
        self.follower = self.follow()

    def follow(self, **changes: object) -> Follower:
        """A new follower, as after a start of the manager or a change of the record."""
        self.repository = msgspec.structs.replace(self.repository, **changes)
        git = Git(check_url(self.repository.url, local=True), self.private)
        self.mirror = GitRepo(self.root / "git" / "ops", git)
        self.followers.append(self.mirror)
        self.follower = Follower(self.repository, self.mirror, self.leader)
        return self.follower

    async def commit(self, files: Mapping[str, str]) -> str:
        """Commit and let the follower see it."""
        commit = self.source.commit(files)
        await self.follower.check()
        return commit

    @property
    def status(self) -> RepositoryStatus:
        found = self.tables.world.get(RepositoryStatus, "ops")
        assert found is not None
        return found

    def head(self, name: str) -> Stack:
        found = self.tables.world.get(Stack, name)
        assert found is not None
        return found


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    await made.tables.open()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.tables.run())
        await made.tables.commit(Changes(changes=(Put(record=made.repository),)))
        yield made
        for mirror in made.followers:
            await mirror.close()
        running.cancel()


async def test_a_commit_deploys_its_stacks(rig: Rig) -> None:
    commit = await rig.commit(
        {"a.stack.yml": STACK % 1, "shop/compose.yaml": STACK % 1, "stack.yml": STACK % 1,
         "notes.yml": "x", "vendor/b.stack.yml": STACK % 1, ".ci/c.stack.yml": STACK % 1}
    )  # fmt: skip
    first = rig.deployer.deployed[0]
    assert rig.deployer.take() == ["a", "ops", "shop"]
    assert (first.owner, first.by, first.commit) == ("repo:ops", "repo:ops", commit)
    assert first.cause
    assert rig.status.commit == commit
    assert rig.status.error == ""
    assert dict(rig.status.files) == {
        "a.stack.yml": "a", "shop/compose.yaml": "shop", "stack.yml": "ops"
    }  # fmt: skip


async def test_only_what_changed_is_deployed_and_all_have_seen_it(rig: Rig) -> None:
    first = await rig.commit({"a.stack.yml": STACK % 1, "b.stack.yml": STACK % 1})
    rig.deployer.take()
    second = await rig.commit({"b.stack.yml": STACK % 2})
    assert rig.deployer.take() == ["b"]
    assert rig.head("a").commit == first
    assert rig.head("a").seen_commit == second
    assert rig.status.ancestors == (first,)
    await rig.follower.check()
    assert rig.deployer.take() == []


async def test_one_change_among_a_thousand_reads_one_blob(rig: Rig) -> None:
    files = {f"s{number}.stack.yml": STACK % number for number in range(1000)}
    await rig.commit(files)
    assert len(rig.deployer.take()) == 1000
    before = await rig.mirror.read(reads)
    await rig.commit({"s500.stack.yml": STACK % "new"})
    assert rig.deployer.take() == ["s500"]
    assert await rig.mirror.read(reads) - before == 1


def reads(objects: Objects) -> int:
    return objects.reads


async def test_files_beside_a_stack_file_count(rig: Rig) -> None:
    stack = (
        "services:\n  web:\n    image: example/web:${TAG}\n    env_file: web.env\n"
        "    configs: [page]\nconfigs:\n  page: {file: conf/page.html}\n"
    )
    files = {
        "x/stack.yml": stack, "x/.env": "TAG=1\n", "x/web.env": "A=1\n", "x/conf/page.html": "one",
        "y/stack.yml": STACK % 1,
    }  # fmt: skip
    await rig.commit(files)
    request = next(one for one in rig.deployer.deployed if one.spec.name == "x")
    assert request.contents == {"config/page": b"one"}
    assert request.spec.services["web"].container.image == "example/web:1"
    rig.deployer.take()
    for name, text in (
        ("x/conf/page.html", "two"), ("x/web.env", "A=2\n"), ("x/.env", "TAG=2\n"),
    ):  # fmt: skip
        await rig.commit({name: text})
        assert rig.deployer.take() == ["x"]


async def test_a_bad_file_does_not_stop_the_others(rig: Rig) -> None:
    await rig.commit({"a.stack.yml": STACK % 1, "b.stack.yml": STACK % 1})
    rig.deployer.take()
    bad = "services:\n  web:\n    imagee: x\n"
    commit = await rig.commit({"a.stack.yml": bad, "b.stack.yml": STACK % 2})
    assert rig.deployer.take() == ["b"]
    assert rig.head("a").seen_commit == commit
    assert "a.stack.yml:3:5" in rig.head("a").problem
    assert any(text.startswith("a.stack.yml:3:5") for text in rig.status.problems)
    await rig.commit({"a.stack.yml": STACK % 1})
    assert rig.head("a").problem == ""
    assert not rig.status.problems


async def test_links_are_refused_by_name(rig: Rig) -> None:
    (rig.source.path / "a.stack.yml").symlink_to("/etc/passwd")
    (rig.source.path / "secret.txt").symlink_to("/etc/shadow")
    stack = STACK % 1 + "secrets: {s: {file: secret.txt}}\n"
    await rig.commit({"b.stack.yml": stack, "c.stack.yml": STACK % 1})
    assert rig.deployer.take() == ["c"]
    assert "a.stack.yml: the file is not read: it is a symbolic link" in rig.status.problems[0]
    assert "b.stack.yml: secret.txt is not read" in rig.status.problems[1]


async def test_two_files_with_one_name_are_both_refused(rig: Rig) -> None:
    await rig.commit({"a.stack.yml": STACK % 1})
    rig.deployer.take()
    await rig.commit({"z/a.stack.yml": STACK % 2, "a.stack.yml": STACK % 3})
    assert rig.deployer.take() == []
    for path in ("a.stack.yml", "z/a.stack.yml"):
        assert any(
            text.startswith(path) and "a.stack.yml and z/a.stack.yml" in text
            for text in rig.status.problems
        )
    assert rig.head("a").release == 1


async def test_a_renamed_file_is_the_same_stack(rig: Rig) -> None:
    await rig.commit({"a.stack.yml": "name: same\n" + STACK % 1})
    rig.source.git("mv", "a.stack.yml", "b.stack.yml")
    await rig.commit({})
    assert rig.deployer.removed == []
    assert rig.head("same").path == "b.stack.yml"


@pytest.mark.parametrize("prune", [True, False])
async def test_a_vanished_file(rig: Rig, prune: bool) -> None:
    rig.follow(prune=prune)
    await rig.commit({"a.stack.yml": STACK % 1, "b.stack.yml": STACK % 1})
    rig.source.remove("a.stack.yml")
    await rig.commit({})
    assert rig.deployer.removed == (["a"] if prune else [])
    assert ("without --prune" in rig.head("a").problem) is not prune


@pytest.mark.parametrize("allow_empty", [True, False])
async def test_removing_everything_needs_a_word_more(rig: Rig, allow_empty: bool) -> None:
    rig.follow(prune=True, allow_empty=allow_empty)
    await rig.commit({"a.stack.yml": STACK % 1, "b.stack.yml": STACK % 1})
    rig.source.remove("a.stack.yml", "b.stack.yml")
    await rig.commit({})
    assert sorted(rig.deployer.removed) == (["a", "b"] if allow_empty else [])
    assert ("--allow-empty" in rig.head("a").problem) is not allow_empty


async def test_a_broken_file_has_not_vanished(rig: Rig) -> None:
    rig.follow(prune=True)
    await rig.commit({"a.stack.yml": "name: other\n" + STACK % 1, "b.stack.yml": STACK % 1})
    rig.follow()
    await rig.commit({"a.stack.yml": ": : :"})
    assert rig.deployer.removed == []


async def test_a_foreign_stack_is_a_problem_of_its_file_until_adopted(rig: Rig) -> None:
    head = Stack(name="a", owner="cli", release=1)
    await rig.tables.commit(Changes(changes=(Put(record=head),)))
    await rig.commit({"a.stack.yml": STACK % 1, "b.stack.yml": STACK % 1})
    assert rig.deployer.take() == ["b"]
    assert rig.status.problems == ("a.stack.yml: a is owned by cli. Adopt it.",)
    adopted = msgspec.structs.replace(head, owner="repo:ops")
    await rig.tables.commit(Changes(changes=(Put(record=adopted),)))
    await rig.follower.check()
    assert rig.deployer.take() == ["a"]
    assert not rig.status.problems


async def test_what_failed_is_tried_again(rig: Rig) -> None:
    rig.deployer.failures["a"] = Unavailable("The registry is down.")
    rig.deployer.unresolved["b"] = "b/web: no such image"
    await rig.commit({"a.stack.yml": STACK % 1, "b.stack.yml": STACK % 1})
    assert len(rig.status.problems) == 2
    assert rig.deployer.take() == ["b"]
    rig.deployer.failures.clear()
    rig.deployer.unresolved.clear()
    await rig.follower.check()
    assert rig.deployer.take() == ["a", "b"]
    assert not rig.status.problems


async def test_a_new_leader_deploys_nothing_again(rig: Rig) -> None:
    await rig.commit({"a.stack.yml": STACK % 1, "b.stack.yml": STACK % 1})
    rig.deployer.take()
    rolled_back = msgspec.structs.replace(rig.head("a"), release=7, commit="older")
    await rig.tables.commit(Changes(changes=(Put(record=rolled_back),)))
    await rig.follow().check()
    assert rig.deployer.take() == []
    rig.source.commit({"b.stack.yml": STACK % 2})
    await rig.follow().check()
    assert rig.deployer.take() == ["b"]
    assert rig.head("a").release == 7


async def test_a_force_push_is_followed_and_told(rig: Rig) -> None:
    first = await rig.commit({"a.stack.yml": STACK % 1})
    await rig.commit({"a.stack.yml": STACK % 2})
    rig.source.git("reset", "--quiet", "--hard", first)
    other = await rig.commit({"a.stack.yml": STACK % 3})
    assert rig.status.commit == other
    kinds = [event.kind for event in rig.tables.world.all(Event)]
    assert kinds.count("repository.commit") == 3
    assert kinds.count("repository.rewritten") == 1


async def test_a_deleted_branch_removes_nothing(rig: Rig) -> None:
    rig.source.commit({"x": ""})
    rig.source.git("checkout", "--quiet", "-b", "live")
    rig.follow(ref="live", prune=True, allow_empty=True)
    commit = await rig.commit({"a.stack.yml": STACK % 1})
    rig.source.git("checkout", "--quiet", "main")
    rig.source.git("branch", "--quiet", "-D", "live")
    with pytest.raises(Refused):
        await rig.follower.check()
    assert "no branch or tag live" in rig.status.error
    assert (rig.status.commit, rig.deployer.removed) == (commit, [])
    rig.source.git("branch", "live", commit)
    await rig.follower.check()
    assert rig.status.error == ""


async def test_the_whole_loop_with_sync_and_removal(rig: Rig) -> None:
    """Records in, deployments out; commits are noticed without waiting for the interval."""
    repositories = Repositories(rig.tables, None, Sealer(b"k" * 32), rig.leader.clock)
    mirrors = rig.root / "mirrors"
    places = Places(mirrors, rig.private, repositories.credential)
    rig.source.commit({"a.stack.yml": STACK % 1})
    await repositories.rm(RepoRequest(name="ops"), "root", rig.deployer)
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(Source(rig.leader, places).run())
        request = RepoAddRequest(name="ops", url=str(rig.source.path), interval=3600)
        await repositories.add(request, "root", local_allowed=True)
        rows = await repositories.sync(RepoRequest(name="ops", wait=True, pull=True))
        assert rows.repositories[0].stacks == ("a",)
        changed = rig.tables.subscribe(RepositoryStatus)
        number = 1
        while rig.status.commit == rows.repositories[0].commit:
            number += 1
            await asyncio.to_thread(rig.source.commit, {"a.stack.yml": STACK % number})
            await changed.next(0.5)
        assert (mirrors / "ops").is_dir()
        await repositories.rm(RepoRequest(name="ops"), "root", rig.deployer)
        assert rig.head("a").owner == "cli"
        await repositories.add(
            msgspec.structs.replace(request, name="two"), "root", local_allowed=True
        )
        await repositories.sync(RepoRequest(name="two", wait=True))
        assert [folder.name for folder in mirrors.iterdir()] == ["two"]
        loop.cancel()
    assert list(rig.private.iterdir()) == []


async def test_a_stack_that_is_being_removed_is_deployed_afterwards(rig: Rig) -> None:
    await rig.commit({"a.stack.yml": STACK % 1})
    removing = msgspec.structs.replace(rig.head("a"), removing=True)
    await rig.tables.commit(Changes(changes=(Put(record=removing),)))
    rig.deployer.take()
    rig.source.commit({"a.stack.yml": STACK % 2})
    async with asyncio.TaskGroup() as group:
        group.create_task(rig.follower.check())
        await asyncio.sleep(0.1)
        assert rig.deployer.take() == []
        await rig.tables.commit(Changes(changes=(Delete(ref=ref(Stack, "a")),)))
    assert rig.deployer.take() == ["a"]
    assert rig.head("a").problem == ""


async def test_commits_that_were_skipped_are_compared_with_the_newest(rig: Rig) -> None:
    first = await rig.commit({"a.stack.yml": STACK % 1, "b.stack.yml": STACK % 1})
    middle = rig.source.commit({"a.stack.yml": STACK % 2, "c.stack.yml": "a: ["})
    other = rig.source.commit({"b.stack.yml": STACK % 2})
    rig.source.remove("c.stack.yml")
    last = await rig.commit({})
    assert rig.status.ancestors[:3] == (other, middle, first)
    assert dict(rig.status.skipped) == {middle: ("b", "c"), other: ("c",)}
    await rig.commit({"a.stack.yml": STACK % 3})
    assert last not in rig.status.skipped
    assert set(rig.status.skipped) == {middle, other}


async def test_what_a_commit_declares_is_told_without_deploying(rig: Rig) -> None:
    places = Places(rig.root / "git", rig.private, lambda _: Credential())
    source = Source(rig.leader, places)
    first = rig.source.commit({"a.stack.yml": STACK % 1})
    async with asyncio.TaskGroup() as group:
        running = group.create_task(source.run())
        stacks = rig.tables.subscribe(Stack)
        while rig.tables.world.get(Stack, "a") is None:
            await stacks.next()
        rig.source.git("checkout", "--quiet", "-b", "later")
        rig.source.commit({"b.stack.yml": STACK % 1})
        rig.source.git("checkout", "--quiet", "main")
        now, then = await source.declared("ops"), await source.declared("ops", first[:9])
        assert (now.commit, set(now.files)) == (first, {"a.stack.yml"})
        assert (then.commit, set(then.files)) == (first, {"a.stack.yml"})
        for name, commit in (("nowhere", ""), ("ops", "f" * 40), ("ops", "--output=x")):
            with pytest.raises(Refused):
                await source.declared(name, commit)
        await check_comparing(source, first)
        running.cancel()
    assert rig.deployer.take() == ["a"]


async def check_comparing(source: Source, first: str) -> None:
    """Branches that are not followed are fetched to be compared, and nothing else."""
    for head in ("later", "refs/heads/later"):
        answer = await source.compare(CompareRequest(repo="ops", base=first, head=head))
        assert ([found.stack for found in answer.stacks], answer.base) == (["b"], first)
    short = CompareRequest(repo="ops", base=first[:9], head="main")
    assert (await source.compare(short)).stacks == ()
    for repo, head in (("nowhere", "main"), ("ops", "missing"), ("ops", "--upload-pack=x")):
        with pytest.raises(Refused):
            await source.compare(CompareRequest(repo=repo, base="main", head=head))


async def test_a_repository_can_be_looked_at_at_once(rig: Rig) -> None:
    source = Source(rig.leader, Places(rig.root / "git", rig.private, lambda _: Credential()))
    rig.source.commit({"a.stack.yml": STACK % 1})
    async with asyncio.TaskGroup() as group:
        running = group.create_task(source.run())
        seen = rig.tables.subscribe(RepositoryStatus)
        while not rig.tables.world.get(RepositoryStatus, "ops") or not rig.status.checked:
            await seen.next()
        rig.source.path.rename(rig.root / "elsewhere")
        source.look("nowhere")
        source.look("ops")
        while not rig.status.error:
            await seen.next()
        running.cancel()
