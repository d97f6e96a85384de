"""Reverts of refused commits, pushed to a real bare repository."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from stackd.aio.clock import SystemClock
from stackd.core.model.event import Event
from stackd.core.model.ids import RevisionId
from stackd.core.model.record import Changes, Put, Record
from stackd.core.model.release import Hold, Release, ServiceRelease, Stack
from stackd.core.model.source import Repository, RepositoryStatus, Revert
from stackd.errors import Refused
from stackd.git.environment import Git
from stackd.git.repo import GitRepo
from stackd.git.revert import Pushed, Undo, push_revert
from stackd.git.urls import check_url
from stackd.manager.follow import Follower
from stackd.manager.noting import Leader
from stackd.manager.reverts import Reverter
from stackd.store.tables import Tables
from tests.component.cluster import until
from tests.component.test_source import STACK, FakeDeployer
from tests.fakes.gitrepo import Repo
from tests.fakes.harness import counted_ids
from tests.fakes.stacks import service, stack
from tests.fakes.store import FakeStore


class Remote:
    """A bare repository, somebody's clone of it, and the cluster's mirror."""

    def __init__(self, root: Path) -> None:
        self.clone = Repo(root / "clone")
        self.bare = root / "remote.git"
        self.clone.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        (root / "private").mkdir()
        git = Git(check_url(str(self.bare), local=True), root / "private")
        self.mirror = GitRepo(root / "mirrors" / "ops", git)

    def push(self, files: dict[str, str], message: str = "change") -> str:
        commit = self.clone.commit(files, message)
        self.clone.git("push", "--quiet", str(self.bare), "main")
        return commit

    def git(self, *arguments: str) -> str:
        return self.clone.git(f"--git-dir={self.bare}", *arguments)

    async def undo(self, commit: str, good: str, branch: str = "undo") -> Pushed:
        """Undo a commit below the newest one of main."""
        tip = await self.mirror.fetch(await self.mirror.ls_remote(""))
        return await push_revert(self.mirror, Undo(commit, good, tip, "", branch, "it\nfailed"))


@pytest_asyncio.fixture
async def remote(tmp_path: Path) -> AsyncIterator[Remote]:
    made = Remote(tmp_path)
    yield made
    await made.mirror.close()


async def test_the_newest_commit_is_undone(remote: Remote) -> None:
    good = remote.push({"a": "1", "b": "1"})
    bad = remote.push({"a": "2", "c": "new"}, "Worse")
    done = await remote.undo(bad, good)
    assert done.branch == "undo"
    assert remote.git("rev-parse", "undo") == done.commit
    assert remote.git("rev-parse", "main", "undo^", "undo^{tree}") == "\n".join(
        [bad, bad, remote.git("rev-parse", f"{good}^{{tree}}")]
    )
    assert remote.git("log", "-1", "--format=%an %s%n%b", "undo") == (
        f'stackd Revert "Worse"\nThis reverts commit {bad}.\n\nstackd refused it: it failed'
    )
    assert await remote.undo(bad, good) == done


async def test_an_older_commit_is_undone_on_top_of_the_newest(remote: Remote) -> None:
    good = remote.push({"a": "1", "b": "1"})
    bad = remote.push({"a": "2"})
    tip = remote.push({"b": "2"})
    done = await remote.undo(bad, good)
    assert remote.git("rev-parse", "undo^") == tip
    assert (remote.git("show", "undo:a"), remote.git("show", "undo:b")) == ("1", "2")
    assert done.commit == remote.git("rev-parse", "undo")


async def test_several_commits_that_came_at_once_are_undone_together(remote: Remote) -> None:
    good = remote.push({"a": "1"})
    remote.clone.commit({"b": "1"})
    bad = remote.push({"c": "1"})
    await remote.undo(bad, good)
    assert remote.git("ls-tree", "--name-only", "undo") == "a"


async def test_nothing_is_overwritten(remote: Remote) -> None:
    good = remote.push({"a": "1"})
    bad = remote.push({"a": "2"})
    remote.clone.git("checkout", "--quiet", "-b", "undo")
    theirs = remote.clone.commit({"mine": "x"})
    remote.clone.git("push", "--quiet", str(remote.bare), "undo")
    done = await remote.undo(bad, good)
    assert done.branch == f"undo-{bad[:12]}"
    assert remote.git("rev-parse", "undo", done.branch) == f"{theirs}\n{done.commit}"


async def test_the_branch_that_is_followed_is_never_pushed_to(remote: Remote) -> None:
    good = remote.push({"a": "1"})
    bad = remote.push({"a": "2"})
    with pytest.raises(Refused, match="main is the branch that is followed"):
        await remote.undo(bad, good, "main")
    assert remote.git("rev-parse", "main") == bad
    assert remote.git("for-each-ref", "--format=%(refname)") == "refs/heads/main"


async def test_what_cannot_be_undone_is_said(remote: Remote) -> None:
    good = remote.push({"a": "1\n"})
    bad = remote.push({"a": "2\n"})
    remote.push({"a": "3\n"})
    with pytest.raises(Refused, match="later commits change the same lines"):
        await remote.undo(bad, good)
    remote.push({"a": "1\n"})
    with pytest.raises(Refused, match="undone already"):
        await remote.undo(bad, good)
    remote.clone.git("reset", "--quiet", "--hard", good)
    remote.clone.git("push", "--quiet", "--force", str(remote.bare), "main")
    with pytest.raises(Refused, match="no longer on the branch"):
        await remote.undo(bad, good)


async def test_a_remote_that_does_not_take_it_says_why(remote: Remote) -> None:
    good = remote.push({"a": "1"})
    bad = remote.push({"a": "2"})
    remote.git("config", "receive.denyCurrentBranch", "refuse")
    remote.git("config", "transfer.hideRefs", "refs/heads/undo")
    with pytest.raises(Refused, match="does not take the branch undo: deny updating a hidden ref"):
        await remote.undo(bad, good)


async def test_hooks_of_a_local_repository_are_not_run(remote: Remote, tmp_path: Path) -> None:
    good = remote.push({"a": "1"})
    bad = remote.push({"a": "2"})
    for name in ("pre-receive", "update", "post-receive", "post-update"):
        hook = remote.bare / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {remote.bare}/ran\n")
        hook.chmod(0o755)
    await remote.undo(bad, good)
    assert not (remote.bare / "ran").exists()


class Rig:
    """The followed repository `ops` with a follower and a reverter."""

    def __init__(self, remote: Remote) -> None:
        clock = SystemClock()
        self.remote = remote
        self.tables = Tables(FakeStore(clock), clock)
        self.deployer = FakeDeployer(self.tables)
        leader = Leader(self.tables, None, clock, counted_ids(), self.deployer, lambda: 0.5)
        self.repository = Repository(
            name="ops", url=str(remote.bare), local=True, revert_branch="undo"
        )
        self.follower = Follower(self.repository, remote.mirror, leader)
        self.reverter = Reverter(self.repository, remote.mirror, leader)

    async def put(self, *records: Record) -> None:
        await self.tables.commit(Changes(changes=tuple(Put(record=r) for r in records)))

    async def push(self, files: dict[str, str]) -> str:
        commit = self.remote.push(files)
        await self.follower.check()
        return commit

    async def release(self, number: int, commit: str, revision: str) -> None:
        spec = stack(service(), name="a")
        part = ServiceRelease(spec=spec.services["web"], revision=RevisionId(revision))
        head = self.tables.world.get(Stack, "a")
        assert head is not None
        release = Release(
            stack="a", number=number, spec=spec, services={"web": part}, commit=commit
        )
        await self.put(release, Stack(name="a", owner="repo:ops", release=number, commit=commit))

    def reverts(self) -> list[Revert]:
        return list(self.tables.world.all(Revert))

    def told(self) -> list[tuple[str, str]]:
        found = self.tables.world.all(Event)
        return [(e.kind, e.object) for e in found if e.kind.startswith("commit.")]


@pytest_asyncio.fixture
async def rig(remote: Remote) -> AsyncIterator[Rig]:
    made = Rig(remote)
    await made.tables.open()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.tables.run())
        await made.put(made.repository)
        reverting = group.create_task(made.reverter.run())
        yield made
        reverting.cancel()
        running.cancel()


async def test_a_commit_with_an_invalid_file_is_undone_once(rig: Rig) -> None:
    good = await rig.push({"a.stack.yml": STACK % 1})
    bad = await rig.push({"a.stack.yml": "services: {web: {imagee: x}}\n"})
    await until(rig.reverts)
    [made] = rig.reverts()
    assert (made.commit, made.branch, made.problem) == (bad, "undo", "")
    assert made.reason.startswith("a.stack.yml:1:")
    assert rig.told() == [("commit.reverted", "ops")]
    tree = rig.remote.git("rev-parse", f"{good}^{{tree}}")
    assert rig.remote.git("rev-parse", "undo^{tree}") == tree
    await rig.push({"b.stack.yml": STACK % 1})
    await rig.push({"c.stack.yml": STACK % 1})
    status = rig.tables.world.get(RepositoryStatus, "ops")
    assert status is not None
    assert dict(status.invalid) == {"a.stack.yml": bad}
    assert [one.commit for one in rig.reverts()] == [bad]
    assert rig.remote.git("rev-parse", "undo") == made.revert


async def test_a_commit_whose_rollout_failed_is_undone_and_its_stack_told(rig: Rig) -> None:
    first = await rig.push({"a.stack.yml": STACK % 1})
    await rig.release(1, first, "good")
    bad = await rig.push({"a.stack.yml": STACK % 2})
    await rig.release(2, bad, "bad")
    other = await rig.push({"b.stack.yml": STACK % 1})
    await rig.release(3, other, "bad")
    await rig.put(
        Hold(stack="a", service="web", revision=RevisionId("bad"), reason="5xx", at=1.0)
    )  # fmt: skip
    await until(rig.reverts)
    [made] = rig.reverts()
    assert (made.commit, made.reason) == (bad, "a/web: 5xx")
    assert rig.told() == [("commit.reverted", "a")]
    assert rig.remote.git("rev-parse", "undo^") == other
    assert rig.remote.git("show", "undo:a.stack.yml") == (STACK % 1).strip()


async def test_what_cannot_be_undone_is_recorded_with_its_reason(rig: Rig) -> None:
    await rig.push({"a.stack.yml": STACK % 1})
    bad = rig.remote.clone.commit({"a.stack.yml": "a: ["})
    rig.remote.git("config", "transfer.hideRefs", "refs/heads/undo")
    rig.remote.clone.git("push", "--quiet", str(rig.remote.bare), "main")
    await rig.follower.check()
    await until(rig.reverts)
    [made] = rig.reverts()
    assert (made.commit, made.revert) == (bad, "")
    assert "does not take the branch" in made.problem
    assert rig.told() == [("commit.revert-failed", "ops")]


async def test_what_was_invalid_when_it_was_added_is_not_undone(rig: Rig) -> None:
    rig.remote.push({"x": "1"})
    await rig.push({"a.stack.yml": "a: ["})
    await rig.push({"b.stack.yml": "a: ["})
    await until(rig.reverts)
    assert [made.reason.partition(":")[0] for made in rig.reverts()] == ["b.stack.yml"]
