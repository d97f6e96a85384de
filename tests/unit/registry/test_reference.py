"""Image names: Docker's normalisation, and what is refused."""

import pytest

from stackd.errors import Refused
from stackd.registry.reference import check_digest, check_host, normalise, parse

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("web", "docker.io/library/web:latest"),
        ("web:1.4", "docker.io/library/web:1.4"),
        ("team/web", "docker.io/team/web:latest"),
        ("docker.io/web", "docker.io/library/web:latest"),
        ("index.docker.io/web", "docker.io/library/web:latest"),
        ("library/web", "docker.io/library/web:latest"),
        ("registry.example/shop/web:1", "registry.example/shop/web:1"),
        ("localhost/web", "localhost/web:latest"),
        ("localhost:5000/a/b/c", "localhost:5000/a/b/c:latest"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        (f"web@sha256:{HEX}", f"docker.io/library/web@sha256:{HEX}"),
        (f"web:1@sha256:{HEX}", f"docker.io/library/web@sha256:{HEX}"),
        ("a__b.c-d", "docker.io/library/a__b.c-d:latest"),
    ],
)
def test_normalised_as_docker_does(text: str, whole: str) -> None:
    assert normalise(text) == whole
    assert normalise(whole) == whole


@pytest.mark.parametrize(
    "text",
    [
        "", "Web", "UPPER/web", "web:", "web:-x", "web:a/b:c", "/web", "web/", "a//b", "-web",
        "web@sha1:abc", f"web@sha256:{HEX.upper()}", f"web@sha256:{HEX[:-1]}", "web@",
        "web@sha256:../../x", f"web@sha512:{HEX}", HEX, "we b", "web\n", "web\0", "--help",
        "registry.example:99999999/x", "registry..example/x", "a" * 300, "x:" + "t" * 200,
        "docker://web", "oci:/etc", "-v.example/x",
    ],
)  # fmt: skip
def test_refused_with_a_reason(text: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(text)
    assert caught.value.remedy


def test_short_is_what_people_write() -> None:
    assert parse("docker.io/library/web:1").short == "web:1"
    assert parse("docker.io/team/web:1").short == "team/web:1"
    assert parse("registry.example/web").short == "registry.example/web:latest"


def test_a_pinned_name_keeps_its_digest() -> None:
    pinned = parse("web:1").at(f"sha256:{HEX}")
    assert pinned.pinned == f"docker.io/library/web@sha256:{HEX}"
    assert pinned.tagged == "docker.io/library/web:1"
    assert parse("web").pinned == ""


def test_a_digest_is_its_hex_digits() -> None:
    assert check_digest(f"sha256:{HEX}") == HEX


@pytest.mark.parametrize("host", ["https://r.example", "r.example/x", "a b", "", "-x", "user@h"])
def test_a_host_is_no_address(host: str) -> None:
    with pytest.raises(Refused):
        check_host(host)
