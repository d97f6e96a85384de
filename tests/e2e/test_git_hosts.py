"""Repositories on servers: over ssh with a key and a known host, over https with a token."""

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import IMAGE, Cluster, until
from tests.e2e.test_git import Source, declared, running
from tests.fakes.githost import HttpsHost, SshHost, https_host, make_key, ssh_host

pytestmark = pytest.mark.e2e
TOKEN = "t0ken-canary-5f1c"
SECRET = "hook-canary-81d4-0123456789"


class Hosted(Source):
    """A repository that is pushed to in its folder and followed at an address."""

    def follow(self, url: str, *flags: str) -> None:
        self.cluster.must("repo", "add", url, "--name", self.name, "--interval", "1s", *flags)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hosts")


@pytest.fixture(scope="module")
def ssh(folder: Path) -> Iterator[SshHost]:
    with ssh_host(folder) as host:
        yield host


@pytest.fixture(scope="module")
def https(folder: Path) -> Iterator[HttpsHost]:
    with https_host(folder, folder, TOKEN) as host:
        yield host


@pytest.fixture(scope="module")
def hosted(apart: Cluster, https: HttpsHost) -> Cluster:
    """A cluster that trusts the server's certificate."""
    up = apart.run("up", "--detach", env={"GIT_SSL_CAINFO": str(https.authority)})
    assert up.code == 0, up.err
    apart.must("image", "load", "-i", str(IMAGE))
    return apart


def files_with(cluster: Cluster, *words: bytes) -> list[Path]:
    """Files of the cluster that hold one of these."""
    found = []
    for top in (cluster.data, cluster.run_folder, Path("/dev/shm", f"stackd-{cluster.id}")):
        for path in top.rglob("*"):
            with contextlib.suppress(OSError):  # namespaces, and what goes meanwhile
                if path.is_file() and any(word in path.read_bytes() for word in words):
                    found.append(path)
    return found


def test_over_https_with_a_token(hosted: Cluster, folder: Path, https: HttpsHost) -> None:
    source = Hosted(hosted, folder, "over-https")
    token = folder / "token"
    token.write_text(f"{TOKEN}\n")
    first = source.push({"tok.stack.yml": running(1)})
    source.follow(https.url("over-https.git"), "--token-file", str(token))
    assert source.wait("tok", first) == 0
    second = source.push({"tok.stack.yml": running(2)})
    assert source.wait("tok", second) == 0
    assert hosted.ps("tok")[0]["image"].startswith("stackd-demo:2")
    assert https.refused == [], "the token goes with every request"
    assert files_with(hosted, TOKEN.encode()) == []


def test_a_webhook_is_seen_at_once_and_a_revert_is_pushed_over_https(
    hosted: Cluster, folder: Path, https: HttpsHost
) -> None:
    source = Hosted(hosted, folder, "hooked")
    source.tree.git(f"--git-dir={source.origin}", "config", "http.receivepack", "true")
    for name, text in (("hook-token", TOKEN), ("hook-secret", SECRET)):
        (folder / name).write_text(text)
    first = source.push({"hook.stack.yml": declared("a")})
    hosted.must(
        *("repo", "add", https.url("hooked.git"), "--name", "hooked", "--interval", "12h"),
        *("--token-file", str(folder / "hook-token"), "--revert-branch", "undo"),
        *("--webhook-secret-file", str(folder / "hook-secret")),
    )
    assert source.wait("hook", first) == 0
    bad = source.push({"hook.stack.yml": "services: {web: {imagee: x}}"})
    port = json.loads((hosted.data / "cluster.json").read_text())["http_port"]
    call = urllib.request.Request(
        f"http://127.0.0.1:{port}/hooks/hooked", b"{}", {"X-Gitlab-Token": SECRET}
    )
    with urllib.request.urlopen(call, timeout=10) as answer:
        assert answer.status == 202
    assert source.wait("hook", bad) == 2
    until(lambda: source.seen(bad)["reverts"], "the revert")
    git = f"--git-dir={source.origin}"
    assert source.tree.git(git, "rev-parse", "undo^") == bad
    assert source.tree.git(git, "diff", "--name-only", first, "undo") == ""
    assert files_with(hosted, TOKEN.encode(), SECRET.encode()) == []


def test_a_wrong_token_is_said(hosted: Cluster, folder: Path, https: HttpsHost) -> None:
    source = Hosted(hosted, folder, "wrong-token")
    (folder / "wrong").write_text("guess")
    source.push({"wrong.stack.yml": declared()})
    ran = hosted.run(
        *("repo", "add", https.url("wrong-token.git"), "--name", source.name),
        *("--token-file", str(folder / "wrong")),
    )
    assert ran.code == 0
    said = hosted.run("repo", "sync", source.name, "--wait", env={"COLUMNS": "1000"}).out
    assert "127.0.0.1 does not accept the credential" in said
    assert "guess" not in said


def test_over_ssh_with_a_key(hosted: Cluster, folder: Path, ssh: SshHost) -> None:
    source = Hosted(hosted, folder, "over-ssh")
    (folder / "known_hosts").write_text(ssh.known_hosts)
    key = ("--ssh-key", str(folder / "user"), "--known-hosts", str(folder / "known_hosts"))
    first = source.push({"sec.stack.yml": declared("a")})
    source.follow(ssh.url(source.origin), *key)
    assert source.wait("sec", first) == 0
    second = source.push({"sec.stack.yml": declared("b")})
    assert source.wait("sec", second) == 0
    middle = ssh.key.splitlines()[2]
    assert files_with(hosted, middle) == []


def test_another_host_key_is_said(hosted: Cluster, folder: Path, ssh: SshHost) -> None:
    source = Hosted(hosted, folder, "other-host")
    source.push({"other.stack.yml": declared()})
    make_key(folder / "impostor")
    public = " ".join((folder / "impostor.pub").read_text().split()[:2])
    known = folder / "other_hosts"
    known.write_text(f"{ssh.known_hosts.split(' ', 1)[0]} {public}\n")
    ran = hosted.run(
        *("repo", "add", ssh.url(source.origin), "--name", source.name),
        *("--ssh-key", str(folder / "user"), "--known-hosts", str(known)),
    )
    assert ran.code == 0
    said = hosted.run("repo", "sync", source.name, "--wait", env={"COLUMNS": "1000"}).out
    assert "host key of 127.0.0.1 is not the one in the known hosts" in said
