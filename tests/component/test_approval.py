"""`repo add --approve manual`: a commit is planned, waits, and goes only as it was approved."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from stackd.aio.clock import SystemClock
from stackd.core.model.event import Event
from stackd.core.model.record import Changes, Put, Record
from stackd.core.model.release import Stack
from stackd.core.model.rollout import ServiceState
from stackd.core.model.source import CommitState, Repository, RepositoryStatus
from stackd.core.rollout import reported
from stackd.core.rollout.outcome import Code, Goal, outcome
from stackd.errors import Refused, Unavailable
from stackd.git.environment import Git
from stackd.git.repo import GitRepo
from stackd.git.urls import check_url
from stackd.manager.contents import Contents
from stackd.manager.deployer import Deployer
from stackd.manager.follow import Follower
from stackd.manager.loop import Context
from stackd.manager.noting import Leader
from stackd.store.seal import Sealer
from stackd.store.tables import Tables
from tests.fakes.gitrepo import Repo
from tests.fakes.harness import counted_ids
from tests.fakes.stacks import FakeResolver, digest, node
from tests.fakes.store import FakeStore

STACK = "services: {web: {image: 'example/web:%s'}}\n"
A, B = digest("a"), digest("b")


class Rig:
    """A local repository that is followed with approval; the deployer is the real one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "private").mkdir()
        self.clock = SystemClock()
        self.source = Repo(root / "source")
        self.tables = Tables(FakeStore(self.clock), self.clock)
        self.resolver = FakeResolver({f"example/web:{tag}": A for tag in (1, 2, 3)}, local=False)
        ids = counted_ids()
        context = Context(self.tables, self.clock, ids)
        contents = Contents(context, Sealer(b"k" * 32))
        self.deployer = Deployer(context, contents, self.resolver)
        self.leader = Leader(self.tables, None, self.clock, ids, self.deployer, lambda: 0.5)
        self.repository = Repository(
            name="ops", url=str(self.source.path), local=True, manual=True, prune=True
        )
        self.mirrors: list[GitRepo] = []
        self.follower = self.follow()

    def follow(self) -> Follower:
        """A follower, as after a start of the manager."""
        git = Git(check_url(self.repository.url, local=True), self.root / "private")
        self.mirrors.append(GitRepo(self.root / "git" / "ops", git))
        self.follower = Follower(self.repository, self.mirrors[-1], self.leader)
        return self.follower

    async def commit(self, files: dict[str, str]) -> str:
        commit = self.source.commit(files)
        await self.follower.check()
        return commit

    async def approve(self) -> None:
        """Approve what waits, and let the follower see it."""
        await self.follower.approve(self.status.plan, "ann")
        await self.follower.check()

    async def put(self, *records: Record) -> None:
        await self.tables.commit(Changes(changes=tuple(Put(record=r) for r in records)))

    @property
    def status(self) -> RepositoryStatus:
        found = self.tables.world.get(RepositoryStatus, "ops")
        assert found is not None
        return found

    def releases(self) -> dict[str, int]:
        return {head.name: head.release for head in self.tables.world.all(Stack)}

    def kinds(self) -> list[str]:
        return [event.kind for event in self.tables.world.all(Event)]


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    await made.tables.open()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.tables.run())
        await made.put(made.repository, *node())
        yield made
        for mirror in made.mirrors:
            await mirror.close()
        running.cancel()


async def test_a_commit_waits_until_its_plan_is_approved(rig: Rig) -> None:
    commit = await rig.commit({"a.stack.yml": STACK % 1, "b.stack.yml": STACK % 1})
    assert (rig.status.waiting, rig.status.commit, rig.releases()) == (commit, "", {})
    assert [line.partition(":")[0] for line in rig.status.planned] == ["a", "b"]
    assert "create a/web at" in rig.status.planned[0]
    await rig.follower.check()
    assert rig.releases() == {}
    await rig.approve()
    assert rig.releases() == {"a": 1, "b": 1}
    assert (rig.status.waiting, rig.status.commit, rig.status.plan) == ("", commit, "")
    assert rig.status.problems == ()
    assert rig.kinds() == [
        "repository.waiting", "repository.approved", "repository.commit",
        "release.created", "release.created",
    ]  # fmt: skip
    approved = next(e for e in rig.tables.world.all(Event) if e.kind == "repository.approved")
    assert approved.principal == "ann"


async def test_a_wrong_hash_and_nothing_that_waits_are_refused(rig: Rig) -> None:
    with pytest.raises(Refused, match="Nothing waits"):
        await rig.follower.approve("", "ann")
    await rig.commit({"a.stack.yml": STACK % 1})
    with pytest.raises(Refused, match=f"Plan 0123 is stale.*is now {rig.status.plan}"):
        await rig.follower.approve("0123", "ann")
    await rig.approve()
    with pytest.raises(Refused, match="Nothing waits"):
        await rig.follower.approve(rig.status.plan, "ann")


async def test_a_hash_is_stale_once_the_cluster_has_changed(rig: Rig) -> None:
    await rig.commit({"a.stack.yml": STACK % 1})
    await rig.approve()
    await rig.commit({"a.stack.yml": STACK % 2})
    seen = rig.status.plan
    await rig.put(ServiceState(stack="a", service="web", stable=None))
    with pytest.raises(Refused, match="stale"):
        await rig.follower.approve(seen, "ann")
    assert rig.status.plan != seen
    assert rig.releases() == {"a": 1}
    await rig.approve()
    assert rig.releases() == {"a": 2}


async def test_a_tag_that_was_moved_makes_the_hash_stale(rig: Rig) -> None:
    await rig.commit({"a.stack.yml": STACK % 1})
    rig.resolver.known["example/web:1"] = B
    with pytest.raises(Refused, match="stale"):
        await rig.follower.approve(rig.status.plan, "ann")
    await rig.approve()
    assert rig.releases() == {"a": 1}


async def test_what_changes_between_approval_and_deployment_is_asked_again(rig: Rig) -> None:
    commit = await rig.commit({"a.stack.yml": STACK % 1, "b.stack.yml": STACK % 1})
    await rig.follower.approve(rig.status.plan, "ann")
    rig.resolver.known["example/web:1"] = B
    await rig.follower.check()
    assert rig.releases() == {}
    assert (rig.status.waiting, rig.status.commit) == (commit, commit)
    assert all("is stale" in problem for problem in rig.status.problems)
    await rig.approve()
    assert rig.releases() == {"a": 1, "b": 1}
    assert rig.status.problems == ()


async def test_a_newer_commit_takes_the_place_of_the_one_that_waits(rig: Rig) -> None:
    first = await rig.commit({"a.stack.yml": STACK % 1})
    old = rig.status.plan
    second = await rig.commit({"a.stack.yml": STACK % 2})
    assert rig.status.waiting == second
    with pytest.raises(Refused, match="stale"):
        await rig.follower.approve(old, "ann")
    rig.source.git("reset", "--quiet", "--hard", first)
    await rig.follower.check()
    assert rig.status.waiting == first
    await rig.approve()
    assert rig.releases() == {"a": 1}
    third = await rig.commit({"a.stack.yml": STACK % 3})
    assert rig.status.waiting == third
    rig.source.git("reset", "--quiet", "--hard", first)
    await rig.follower.check()
    assert (rig.status.waiting, rig.status.commit) == ("", first)


async def test_what_was_approved_is_deployed_though_a_newer_commit_came(rig: Rig) -> None:
    first = await rig.commit({"a.stack.yml": STACK % 1})
    await rig.follower.approve(rig.status.plan, "ann")
    second = await rig.commit({"a.stack.yml": STACK % 2})
    assert rig.releases() == {"a": 1}
    assert (rig.status.commit, rig.status.waiting) == (first, second)


async def test_what_changes_no_stack_needs_nobody(rig: Rig) -> None:
    commit = await rig.commit({"README": "x"})
    assert (rig.status.waiting, rig.status.commit) == ("", commit)
    bad = await rig.commit({"a.stack.yml": "a: ["})
    assert rig.status.commit == bad
    assert rig.status.problems


async def test_the_removal_of_a_stack_waits_too(rig: Rig) -> None:
    await rig.commit({"a.stack.yml": STACK % 1, "b.stack.yml": STACK % 1})
    await rig.approve()
    rig.source.remove("b.stack.yml")
    await rig.commit({})
    assert rig.status.planned == ("b: remove the stack",)
    heads = {head.name: head.removing for head in rig.tables.world.all(Stack)}
    assert heads == {"a": False, "b": False}
    await rig.approve()
    heads = {head.name: head.removing for head in rig.tables.world.all(Stack)}
    assert heads == {"a": False, "b": True}


async def test_what_cannot_be_planned_is_not_deployed_unseen(rig: Rig) -> None:
    rig.resolver.known["example/web:2"] = Unavailable("The registry is down.")
    await rig.commit({"a.stack.yml": STACK % 1, "b.stack.yml": STACK % 2})
    assert "The registry is down" in rig.status.planned[1]
    await rig.follower.approve(rig.status.plan, "ann")
    rig.resolver.known["example/web:2"] = A
    await rig.follower.check()
    assert rig.releases() == {"a": 1}
    await rig.approve()
    assert rig.releases() == {"a": 1, "b": 1}


async def test_a_new_leader_knows_what_waits_and_what_was_approved(rig: Rig) -> None:
    await rig.commit({"a.stack.yml": STACK % 1, "b.stack.yml": STACK % 1})
    await rig.approve()
    await rig.commit({"a.stack.yml": STACK % 2})
    waits = rig.status.plan
    rig.follow()
    await rig.follower.approve(waits, "ann")
    await rig.follow().check()
    assert rig.releases() == {"a": 2, "b": 1}


async def test_waiting_is_told(rig: Rig) -> None:
    commit = await rig.commit({"a.stack.yml": STACK % 1})
    for stack in ("a", "nowhere"):
        found = outcome(rig.tables.world, Goal(stack, commit=commit[:9]), rig.clock.now())
        assert found.code is Code.PERSON
        assert f"stackd approve ops {rig.status.plan}" in found.text
    said = reported.of_repository(rig.status, commit)
    assert said is not None
    assert (said.state, said.kind) == (CommitState.PENDING, "approval")
    gone = reported.of_repository(rig.status, "f" * 40)
    assert gone is not None
    assert gone.text == f"{commit[:12]} came instead"
    await rig.approve()
    found = outcome(rig.tables.world, Goal("a", commit=commit), rig.clock.now())
    assert found.code is Code.NOT_YET


async def test_a_foreign_stack_is_said_and_stays(rig: Rig) -> None:
    await rig.put(Stack(name="a", owner="cli", release=0))
    await rig.commit({"a.stack.yml": STACK % 1, "b.stack.yml": STACK % 1})
    assert "owned by cli" in rig.status.planned[0]
    await rig.approve()
    assert rig.releases() == {"a": 0, "b": 1}
