"""How git is started: credentials only for their host, in no argument and no environment."""

from pathlib import Path

import pytest

from stackd.errors import Refused
from stackd.git.environment import Credential, Git
from stackd.git.urls import check_url

CANARY = "t0ken-canary"


def git_of(private: Path, url: str, token: bytes) -> Git:
    return Git(check_url(url), private, Credential(token=token))


@pytest.mark.parametrize("token", [CANARY.encode(), f"me:{CANARY}\n".encode()])
async def test_a_token_is_sent_to_its_host_only(tmp_path: Path, token: bytes) -> None:
    git = git_of(tmp_path, "https://git.example:8443/team/x.git", token)
    for url, sent in (
        ("https://git.example:8443/team/x.git", True),
        ("https://other.example:8443/team/x.git", False),
        ("https://git.example/team/x.git", False),
        ("http://git.example:8443/team/x.git", False),
    ):
        done = await git.run(["config", "--get-urlmatch", "http.extraHeader", url], network=True)
        assert (b"Authorization: Basic" in done.stdout) is sent
    assert list(tmp_path.iterdir()) == []


async def test_a_token_is_in_no_argument_and_no_variable(tmp_path: Path) -> None:
    git = git_of(tmp_path, "https://git.example/x", CANARY.encode())
    show = "!cat /proc/self/environ /proc/$PPID/cmdline /proc/$PPID/environ"
    done = await git.run(["-c", f"alias.reveal={show}", "reveal"], network=True)
    assert b"GIT_TERMINAL_PROMPT" in done.stdout
    assert CANARY.encode() not in done.stdout
    assert b"Authorization" not in done.stdout


async def test_local_commands_get_no_credential(tmp_path: Path) -> None:
    git = git_of(tmp_path, "https://git.example/x", CANARY.encode())
    done = await git.run(["config", "--list"])
    assert b"extraheader" not in done.stdout.lower()


async def test_nothing_of_the_machine_is_read(tmp_path: Path) -> None:
    git = Git(check_url("https://git.example/x"), tmp_path)
    done = await git.run(["config", "--list", "--show-scope"])
    scopes = {line.split(b"\t")[0] for line in done.stdout.splitlines()}
    assert scopes <= {b"command"}
    for setting in (
        b"core.hookspath=/dev/null", b"core.fsmonitor=false", b"transfer.fsckobjects=true",
        b"protocol.allow=never", b"protocol.https.allow=always", b"http.followredirects=false",
    ):  # fmt: skip
        assert setting in done.stdout


async def test_a_line_break_in_a_token_cannot_add_settings(tmp_path: Path) -> None:
    git = git_of(tmp_path, "https://git.example/x", b"a\n[core]\n\thooksPath = /tmp")
    done = await git.run(["config", "--list"], network=True)
    assert done.stdout.count(b"core.hookspath=") == 1
    local = Git(check_url('/srv/a\\b"c', local=True), tmp_path)
    done = await local.run(["config", "--get-all", "safe.directory"])
    assert done.stdout.splitlines()[0] == b'/srv/a\\b"c'
    with pytest.raises(Refused):
        check_url("/srv/a\nb", local=True)
