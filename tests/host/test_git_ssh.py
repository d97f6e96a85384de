"""Repositories over ssh, from a private sshd on loopback: keys, host keys, and what is refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stackd.errors import Refused
from stackd.git.environment import Credential, Git
from stackd.git.repo import GitRepo
from stackd.git.urls import check_url
from tests.fakes.githost import make_key, ssh_host
from tests.fakes.gitrepo import Repo

pytestmark = pytest.mark.host


@dataclass(frozen=True)
class Server:
    """A running sshd: how to reach it, and a key that it takes."""

    url: str
    key: bytes
    known_hosts: str
    source: Repo


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sshd")
    source = Repo(folder / "stacks")
    source.commit({"a.stack.yml": "services: {}\n"})
    with ssh_host(folder) as host:
        yield Server(host.url(source.path), host.key, host.known_hosts, source)


def mirror_of(server: Server, root: Path, credential: Credential) -> GitRepo:
    private = root / "private"
    private.mkdir(exist_ok=True)
    return GitRepo(root / "git", Git(check_url(server.url), private, credential))


async def test_a_key_and_a_known_host_open_the_repository(server: Server, tmp_path: Path) -> None:
    mirror = mirror_of(server, tmp_path, Credential(server.key, server.known_hosts))
    commit = server.source.commit({"b.stack.yml": "services: {}\n"})
    assert await mirror.fetch(await mirror.ls_remote("main")) == commit
    listing = await mirror.read(lambda objects: objects.files(commit, "", lambda _: True))
    assert sorted(listing.files) == ["a.stack.yml", "b.stack.yml"]
    await mirror.close()
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"PRIVATE KEY" in path.read_bytes() for path in left)


async def test_a_key_that_may_write_pushes(server: Server, tmp_path: Path) -> None:
    mirror = mirror_of(server, tmp_path, Credential(server.key, server.known_hosts))
    commit = server.source.commit({"c.stack.yml": "services: {}\n"})
    await mirror.fetch(await mirror.ls_remote("main"))
    assert await mirror.followed("") == "refs/heads/main"
    assert await mirror.push(commit, "undo")
    assert server.source.git("rev-parse", "undo") == commit
    server.source.git("branch", "--force", "undo", "main^")
    other = server.source.commit({"d.stack.yml": "services: {}\n"})
    server.source.git("branch", "--force", "undo", other)
    assert not await mirror.push(commit, "undo")
    assert server.source.git("rev-parse", "undo") == other
    await mirror.close()


async def test_an_unknown_host_key_is_refused(server: Server, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    other = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    name = server.known_hosts.split(" ", 1)[0]
    for known in ("", f"{name} {other}\n"):
        mirror = mirror_of(server, tmp_path, Credential(server.key, known))
        with pytest.raises(Refused, match="host key"):
            await mirror.ls_remote("main")
    assert list((tmp_path / "private").iterdir()) == []


async def test_another_key_is_refused(server: Server, tmp_path: Path) -> None:
    key = make_key(tmp_path / "other")
    mirror = mirror_of(server, tmp_path, Credential(key, server.known_hosts))
    with pytest.raises(Refused, match="credential"):
        await mirror.ls_remote("main")


async def test_a_missing_repository_is_said(server: Server, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    address = check_url(f"{server.url}-nothing")
    git = Git(address, private, Credential(server.key, server.known_hosts))
    with pytest.raises(Refused, match="no repository"):
        await GitRepo(tmp_path / "git", git).ls_remote("")
