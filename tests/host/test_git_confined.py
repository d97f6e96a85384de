"""What a git that somebody has taken over could still do on this machine."""

import os
from pathlib import Path

import pytest

from stackd.git.environment import Git
from stackd.git.urls import check_url

pytestmark = pytest.mark.host


class Taken:
    """Runs shell commands where git runs."""

    def __init__(self, root: Path, url: str = "https://git.example/x") -> None:
        self.private = root / "private"
        self.mirror = root / "mirror"
        self.private.mkdir()
        self.mirror.mkdir()
        self.git = Git(check_url(url, local=url.startswith("/")), self.private)

    async def sh(self, script: str, *, network: bool = True) -> str:
        alias = f"alias.taken=!{script} #"
        done = await self.git.run(["-c", alias, "taken"], writes=(self.mirror,), network=network)
        return (done.stdout + done.stderr).decode()


async def test_it_writes_to_its_mirror_only(tmp_path: Path) -> None:
    taken = Taken(tmp_path)
    other = tmp_path / "other"
    other.write_text("as it was")
    said = await taken.sh(
        f"echo x >{taken.mirror}/a; echo x >>{other}; echo x >{tmp_path}/new; "
        f"rm {other}; ln {other} {taken.mirror}/b; echo x >/etc/stackd-probe"
    )
    assert (taken.mirror / "a").read_text() == "x\n"
    assert other.read_text() == "as it was"
    assert {p.name for p in tmp_path.iterdir()} == {"private", "mirror", "other"}
    assert {p.name for p in taken.mirror.iterdir()} == {"a"}
    assert not Path("/etc/stackd-probe").exists()
    assert "Permission denied" in said


async def test_it_reads_nothing_of_stackd(tmp_path: Path) -> None:
    taken = Taken(tmp_path)
    secret = tmp_path / "store.key"
    secret.write_text("canary")
    said = await taken.sh(f"cat {secret}; ls {tmp_path}; cat /proc/1/environ")
    assert "canary" not in said
    assert said.count("ermission denied") == 3


async def test_it_has_no_capability(tmp_path: Path) -> None:
    taken = Taken(tmp_path)
    said = await taken.sh(
        "cat /proc/self/status; chown 1 mirror; kill -0 1 || echo no signal; mount -t tmpfs x /mnt"
    )
    assert "CapEff:\t0000000000000000" in said
    assert "CapBnd:\t0000000000000000" in said
    assert "NoNewPrivs:\t1" in said
    assert "no signal" in said


@pytest.mark.parametrize("network", [True, False])
async def test_it_has_a_network_only_to_talk_to_the_remote(tmp_path: Path, network: bool) -> None:
    here = Path("/proc/self/net/dev").read_text().count(":")
    said = await Taken(tmp_path).sh("cat /proc/self/net/dev", network=network)
    assert said.count(":") == (here if network else 1)


async def test_a_local_repository_may_belong_to_anybody_and_is_only_read(tmp_path: Path) -> None:
    taken = Taken(tmp_path, str(tmp_path / "theirs"))
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    (theirs / "file").write_text("text")
    for path in (theirs / "file", theirs):
        path.chmod(0o700)
        os.chown(path, 12345, 12345)
    said = await taken.sh(
        f"cat {theirs}/file; echo x >{theirs}/file; grep CapEff /proc/self/status"
    )
    assert said.startswith("text")
    assert (theirs / "file").read_text() == "text"
    assert "CapEff:\t0000000000000004" in said
