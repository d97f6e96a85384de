"""Addresses and references: three plain forms pass, everything else is refused before git."""

import pytest

from stackd.errors import Refused
from stackd.git.urls import Scheme, check_commit, check_ref, check_url


@pytest.mark.parametrize(
    ("url", "scheme", "host"),
    [
        ("https://git.example/team/stacks.git", Scheme.HTTPS, "git.example"),
        ("https://git.example:8443/stacks", Scheme.HTTPS, "git.example"),
        ("https://127.0.0.1/stacks", Scheme.HTTPS, "127.0.0.1"),
        ("https://[::1]/stacks", Scheme.HTTPS, "::1"),
        ("ssh://git@git.example:2222/team/stacks.git", Scheme.SSH, "git.example"),
        ("ssh://git.example/~me/stacks", Scheme.SSH, "git.example"),
        ("git@git.example:team/stacks.git", Scheme.SSH, "git.example"),
        ("git.example:stacks", Scheme.SSH, "git.example"),
    ],
)
def test_plain_addresses_pass(url: str, scheme: Scheme, host: str) -> None:
    address = check_url(url)
    assert (address.url, address.scheme, address.host) == (url, scheme, host)


HOSTILE = [
    "", "ext::sh -c touch% /tmp/x", "ext::sh", "file:///etc", "/etc", "./x", "../x", "x",
    "git://git.example/x", "http://git.example/x", "ftp://git.example/x", "fd::17/x",
    "--upload-pack=touch x", "-uhttps://git.example/x", "-x", "ssh://-oProxyCommand=x/y",
    "ssh://-oProxyCommand=touch@git.example/y", "-oProxyCommand=x:y", "git@-oProxyCommand=x:y",
    "ssh://git.example/-x", "git.example:-x", "ssh://user:pass@git.example/x",
    "https://token@git.example/x", "https://user:token@git.example/x", "https://@git.example/x",
    "https://git.example/x%0ahost=other", "https://git.example/x\nhost=other",
    "https://git.example/x\r", "https://git.example/\x1b[31mx", "https://git.example/a b",
    "https://git.example/x;id", "https://git.example/$(id)", "https://git.example/`id`",
    "https://git.example/x?y=1", "https://git.example/x#y", "https:///x", "https://git.example",
    "https://169.254.169.254/x", "https://[::ffff:169.254.169.254]/x", "https://2852039166/x",
    "https://0xa9fea9fe/x", "https://169.254.43518/x", "https://[fe80::1]/x", "https://0.0.0.0/x",
    "ssh://169.254.169.254/x", "git@169.254.169.254:x", "HTTPS://git.example/x",
    "https://git.example:0/x", "https://git.example:99999/x", "https://git.example:x/x",
    "https://-git.example/x", "https://git_.example-/x", "https://g\u0131t.example/x",
    "https://git.example/" + "a" * 1000, "git@git.example:x y", "git@git.example::x",
    "C:\\x", "https://git.example\\@other.example/x", "https://git.example/..;/x",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_addresses_are_refused(url: str) -> None:
    with pytest.raises(Refused) as caught:
        check_url(url)
    assert caught.value.remedy
    assert "\n" not in caught.value.cause
    assert "pass" not in caught.value.cause
    assert "token" not in caught.value.cause


def test_a_path_is_an_address_only_for_local_repositories() -> None:
    assert check_url("/srv/my stacks", local=True).scheme is Scheme.FILE
    for url in ("srv/x", "-x", "https://git.example/x", "/srv/\nx", "/a\0b", "file:///x", ""):
        with pytest.raises(Refused):
            check_url(url, local=True)


@pytest.mark.parametrize("ref", ["", "main", "v1.2", "release/1.x", "refs/heads/main", "a@b"])
def test_plain_references_pass(ref: str) -> None:
    assert check_ref(ref) == ref


@pytest.mark.parametrize(
    "ref",
    [
        "--output=x", "-x", "../../x", "a..b", "@{u}", "main@{1}", "refs/heads/x;id", "a b",
        "x" * 300, "a\0b", "a\nb", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "/a", "a/", "a//b",
        ".a", "a/.b", "a.lock", "a.lock/b", "a.", "a/-b", "\x1b[1m", "ä",
    ],
)  # fmt: skip
def test_other_references_are_refused(ref: str) -> None:
    with pytest.raises(Refused):
        check_ref(ref)


@pytest.mark.parametrize("commit", ["", "HEAD", "abc", "A" * 40, "-" + "a" * 39, "a" * 41])
def test_a_commit_is_forty_digits(commit: str) -> None:
    with pytest.raises(Refused):
        check_commit(commit)
