"""Mirrors of real repositories: fetch, read, refuse, repair."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stackd.errors import Refused, Unavailable
from stackd.git.environment import Credential, Git
from stackd.git.repo import GitRepo
from stackd.git.urls import Address, Scheme, check_url
from stackd.git.watch import git_folder, local_changes
from tests.fakes.gitrepo import Repo


class Rig:
    """A repository and its mirror."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.private = root / "private"
        self.private.mkdir()
        self.source = Repo(root / "source")
        self.mirror = self.open()

    def open(self) -> GitRepo:
        address = check_url(str(self.source.path), local=True)
        return GitRepo(self.root / "git" / "x", Git(address, self.private))

    async def fetch(self, ref: str = "") -> str:
        return await self.mirror.fetch(await self.mirror.ls_remote(ref))

    async def find(self, commit: str, path: str) -> str | None:
        return await self.mirror.read(lambda objects: objects.find(commit, path))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def yaml(name: str) -> bool:
    return name.endswith(".yml")


async def test_a_commit_is_fetched_and_read_without_a_work_tree(rig: Rig) -> None:
    commit = rig.source.commit({"a/x.yml": "one", "b/y.yml": "two", "c.txt": "no"}, "first\n\nmore")
    assert await rig.fetch() == commit
    listing = await rig.mirror.read(lambda objects: objects.files(commit, "", yaml))
    assert sorted(listing.files) == ["a/x.yml", "b/y.yml"]
    content = await rig.mirror.read(lambda objects: objects.read(listing.files["a/x.yml"]))
    assert content == b"one"
    info = await rig.mirror.read(lambda objects: objects.commit(commit))
    assert (info.author, info.message) == ("Ann <ann@example.org>", "first")
    assert not list((rig.root / "git").rglob("x.yml"))
    await rig.mirror.close()
    assert list(rig.private.iterdir()) == []


async def test_only_the_wanted_folder_and_no_hidden_ones(rig: Rig) -> None:
    commit = rig.source.commit(
        {
            f"{folder}/x.yml": "x"
            for folder in ("p/a", "p/.hidden", "p/node_modules", "p/v/vendor", "other")
        }
    )
    await rig.fetch()
    asked: list[str] = []

    def wanted(name: str) -> bool:
        asked.append(name)
        return True

    found = await rig.mirror.read(lambda objects: objects.files(commit, "p", wanted))
    assert list(found.files) == ["p/a/x.yml"]
    assert asked == ["a/x.yml"]
    with pytest.raises(Refused, match="no folder"):
        await rig.mirror.read(lambda objects: objects.files(commit, "nothing", yaml))
    await rig.mirror.close()


async def test_links_and_submodules_are_named_never_followed(rig: Rig) -> None:
    rig.source.write({"real.yml": "x", "dir/inner.yml": "y"})
    os.symlink("/etc/passwd", rig.source.path / "link.yml")
    os.symlink("link2.yml", rig.source.path / "link2.yml")
    os.symlink("dir", rig.source.path / "folder")
    rig.source.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub.yml")
    rig.source.git("add", "--all", "--", "real.yml", "dir", "link.yml", "link2.yml", "folder")
    rig.source.git("commit", "--quiet", "--message=links")
    commit = await rig.fetch()
    listing = await rig.mirror.read(lambda objects: objects.files(commit, "", yaml))
    assert sorted(listing.files) == ["dir/inner.yml", "real.yml"]
    assert sorted(listing.refused) == ["link.yml", "link2.yml", "sub.yml"]
    for path, place in (("link.yml", "link.yml"), ("folder/inner.yml", "folder")):
        with pytest.raises(Refused, match=f"^{place} is not read: it is a symbolic link"):
            await rig.find(commit, path)
    for path in ("../etc/passwd", "/etc/passwd", "a\0b", "dir/../real.yml"):
        with pytest.raises(Refused, match="not a path within"):
            await rig.find(commit, path)
    assert await rig.find(commit, "nothing") is None
    await rig.mirror.close()


async def test_branches_tags_and_what_is_missing(rig: Rig) -> None:
    with pytest.raises(Refused, match="empty"):
        await rig.mirror.ls_remote("")
    first = rig.source.commit({"a.yml": "1"})
    rig.source.git("tag", "--annotate", "v1", "--message=v1")
    second = rig.source.commit({"a.yml": "2"})
    assert (await rig.mirror.ls_remote("v1")).commit == first
    assert await rig.fetch("v1") == first
    assert await rig.fetch("main") == second
    assert await rig.fetch("refs/heads/main") == second
    with pytest.raises(Refused, match="no branch or tag nope"):
        await rig.mirror.ls_remote("nope")
    rig.source.git("update-ref", "refs/evil/refs/heads/hidden", first)
    with pytest.raises(Refused, match="no branch or tag hidden"):
        await rig.mirror.ls_remote("hidden")
    await rig.mirror.close()


async def test_ancestry_and_a_force_push(rig: Rig) -> None:
    first = rig.source.commit({"a.yml": "1"})
    second = rig.source.commit({"a.yml": "2"})
    await rig.fetch()
    assert await rig.mirror.is_descendant(second, first)
    assert not await rig.mirror.is_descendant(first, second)
    assert await rig.mirror.history(second, 10) == (first,)
    rig.source.git("reset", "--quiet", "--hard", first)
    other = rig.source.commit({"a.yml": "3"})
    assert await rig.fetch() == other
    assert not await rig.mirror.is_descendant(other, second)
    assert not await rig.mirror.is_descendant(other, "1" * 40)
    await rig.mirror.close()


async def test_a_deleted_repository_leaves_what_was_fetched(rig: Rig) -> None:
    commit = rig.source.commit({"a.yml": "1"})
    await rig.fetch()
    shutil.rmtree(rig.source.path)
    with pytest.raises(Refused, match="no repository"):
        await rig.mirror.ls_remote("")
    listing = await rig.mirror.read(lambda objects: objects.files(commit, "", yaml))
    assert list(listing.files) == ["a.yml"]
    await rig.mirror.close()


async def test_a_damaged_mirror_is_fetched_again(rig: Rig) -> None:
    commit = rig.source.commit({"a.yml": "1"})
    await rig.fetch()
    for path in (rig.root / "git/x/mirror.git/objects").rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(b"junk")
    await rig.mirror.close()
    fresh = rig.open()
    with pytest.raises(Unavailable, match="damaged"):
        await fresh.read(lambda objects: objects.commit(commit))
    assert await fresh.fetch(await fresh.ls_remote("")) == commit
    assert (await fresh.read(lambda objects: objects.commit(commit))).id == commit
    await fresh.close()


def loosen(mirror: Path) -> None:
    """Put each object of the mirror into a file of its own."""
    for pack in list((mirror / "objects/pack").glob("*.pack")):
        content = pack.read_bytes()
        for path in pack.parent.iterdir():
            path.unlink()
        argv = ["git", f"--git-dir={mirror}", "unpack-objects", "-q"]
        subprocess.run(argv, input=content, check=True)


async def test_an_object_with_another_content_is_noticed(rig: Rig) -> None:
    commit = rig.source.commit({"a.yml": "1", "b.yml": "2"})
    await rig.fetch()
    listing = await rig.mirror.read(lambda objects: objects.files(commit, "", yaml))
    mirror = rig.root / "git/x/mirror.git"
    await asyncio.to_thread(loosen, mirror)
    one, two = (mirror / "objects" / name[:2] / name[2:] for name in listing.files.values())
    one.chmod(0o600)
    one.write_bytes(two.read_bytes())
    first = listing.files["a.yml"]
    await rig.mirror.close()
    rig.mirror = rig.open()
    with pytest.raises(Unavailable, match="damaged"):
        await rig.mirror.read(lambda objects: objects.read(first))
    await rig.mirror.close()


async def test_what_a_killed_git_left_is_no_obstacle(rig: Rig) -> None:
    rig.source.commit({"a.yml": "1"})
    await rig.fetch()
    mirror = rig.root / "git/x/mirror.git"
    await rig.mirror.close()
    (mirror / "refs/stackd/tip.lock").touch()
    (mirror / "shallow.lock").touch()
    (mirror / "objects/pack/tmp_pack_dead").touch()
    rig.mirror = rig.open()
    commit = rig.source.commit({"a.yml": "2"})
    assert await rig.fetch() == commit
    assert not (mirror / "objects/pack/tmp_pack_dead").exists()
    await rig.mirror.close()


async def test_another_address_means_another_mirror(rig: Rig) -> None:
    rig.source.commit({"a.yml": "1"})
    await rig.fetch()
    await rig.mirror.close()
    other = Repo(rig.root / "other")
    commit = other.commit({"b.yml": "2"})
    rig.source = other
    rig.mirror = rig.open()
    assert await rig.fetch() == commit
    assert len(list((rig.root / "git/x/mirror.git").rglob("stackd-url"))) == 1
    await rig.mirror.close(delete=True)
    assert not (rig.root / "git/x").exists()


async def test_hooks_filters_and_settings_of_a_repository_do_nothing(rig: Rig) -> None:
    canary = rig.root / "canary"
    rig.source.commit({".gitattributes": "*.yml filter=evil\n", "a.yml": "1"})
    git = git_folder(rig.source.path)
    (git / "config").write_text(
        (git / "config").read_text()
        + f'[filter "evil"]\n\tsmudge = touch {canary}\n\tclean = touch {canary}\n'
        f"[core]\n\tfsmonitor = touch {canary}\n\thooksPath = {git}/hooks\n"
        f"[uploadpack]\n\tpackObjectsHook = touch {canary}\n"
    )
    for name in ("post-checkout", "post-merge", "reference-transaction", "pre-auto-gc"):
        hook = git / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {canary}\n")
        hook.chmod(0o755)
    commit = await rig.fetch()
    listing = await rig.mirror.read(lambda objects: objects.files(commit, "", yaml))
    assert await rig.mirror.read(lambda objects: objects.read(listing.files["a.yml"])) == b"1"
    assert not canary.exists()
    await rig.mirror.close()


async def test_git_itself_refuses_other_protocols(rig: Rig) -> None:
    """Even if an address slipped through: the environment allows one protocol only."""
    canary = rig.root / "canary"
    for scheme in (Scheme.HTTPS, Scheme.SSH):
        for url in (f"ext::sh -c touch% {canary}", str(rig.source.path), "git://127.0.0.1:1/x"):
            git = Git(Address(url, scheme), rig.private, Credential(known_hosts="x"))
            done = await git.run(["ls-remote", "--", url], network=True)
            assert done.code != 0
            assert b"not allowed" in done.stderr
    assert not canary.exists()


async def test_a_blob_above_the_limit_is_refused(rig: Rig) -> None:
    commit = rig.source.commit({"big.yml": "x" * 2000})
    await rig.fetch()
    with pytest.raises(Refused, match="2000 bytes"):
        await rig.mirror.read(
            lambda objects: objects.read(objects.find(commit, "big.yml") or "", 1000)
        )
    await rig.mirror.close()


async def test_a_commit_to_a_local_repository_is_noticed(rig: Rig) -> None:
    rig.source.commit({"a.yml": "1"})
    noticed = asyncio.Event()

    async def watch() -> None:
        async for _ in local_changes(rig.source.path):
            noticed.set()

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        number = 1
        while not noticed.is_set():
            number += 1
            await asyncio.to_thread(rig.source.commit, {"a.yml": str(number)})
        watching.cancel()


def test_what_is_no_repository_is_said(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not a Git repository"):
        git_folder(tmp_path)
