"""Manifests and configs: both families, and everything ambiguous refused."""

import json
from typing import Any

import pytest

from stackd.core.container.manifest import Blob, Manifest, digest_of, parse, parse_config
from stackd.core.model.driver import ImageConfig
from stackd.errors import Rejected

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


def manifest(**over: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "config": {"digest": A, "size": 3},
        "layers": [{"mediaType": OCI_LAYER, "digest": B, "size": 4}],
    }
    return json.dumps(document | over).encode()


def test_both_families() -> None:
    expected = Manifest(Blob(A, 3), (Blob(B, 4),))
    assert parse(manifest(), "x86_64") == expected
    layer = {
        "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "digest": B,
        "size": 4,
    }
    assert parse(manifest(mediaType=DOCKER, layers=[layer]), "x86_64") == expected


def index(*platforms: tuple[str, str]) -> bytes:
    entries = [
        {"digest": digest, "size": 1, "platform": {"os": "linux", "architecture": name}}
        for digest, name in platforms
    ]
    return json.dumps({"schemaVersion": 2, "manifests": entries}).encode()


def test_index() -> None:
    both = index((A, "arm64"), (B, "amd64"))
    assert parse(both, "x86_64") == B
    assert parse(both, "aarch64") == A
    with pytest.raises(Rejected, match="linux/amd64"):
        parse(index((A, "arm64")), "x86_64")


LAYER = {"mediaType": OCI_LAYER, "digest": B, "size": 4}


@pytest.mark.parametrize(
    "data",
    [
        manifest(manifests=[]),
        manifest(schemaVersion=1),
        manifest(mediaType="application/vnd.oci.image.index.v1+json"),
        manifest(layers=[LAYER | {"urls": ["https://elsewhere"]}]),
        manifest(layers=[LAYER | {"digest": "sha256:../../x"}]),
        manifest(layers=[LAYER | {"digest": B.upper()}]),
        manifest(layers=[LAYER | {"digest": "sha1:" + "a" * 40}]),
        manifest(layers=[LAYER | {"size": -1}]),
        manifest(layers=[LAYER | {"mediaType": "text/plain"}]),
        manifest(layers=[LAYER] * 128),
        manifest(layers=None),
        manifest(config=None),
        b'{"schemaVersion": 2, "schemaVersion": 2}',
        b"[]",
        b"[" * 100_000,
        b"\xff",
        b" " * (4 * 1024 * 1024 + 1),
    ],
)
def test_unsound(data: bytes) -> None:
    with pytest.raises(Rejected):
        parse(data, "x86_64")


def config(inner: Any, ids: Any = (A,)) -> bytes:
    rootfs = {"type": "layers", "diff_ids": list(ids) if ids is not None else None}
    return json.dumps({"config": inner, "rootfs": rootfs}).encode()


def test_config() -> None:
    assert parse_config(config(None)) == ((A,), ImageConfig())
    health = {"Test": ["CMD", "check", "-q"], "Timeout": 1_500_000_000, "StartPeriod": 0}
    ids, found = parse_config(config({"Cmd": ["a"], "Healthcheck": health, "Labels": {"x": "y"}}))
    assert ids == (A,)
    assert found.command == ("a",)
    assert (found.health_test, found.health_timeout) == (("check", "-q"), 1.5)
    assert parse_config(config({"Healthcheck": {"Test": ["NONE"]}}))[1].health_test == ()


@pytest.mark.parametrize(
    "data",
    [
        config({"Cmd": "text"}),
        config({"Env": [1]}),
        config({"User": 5}),
        config([1]),
        config({}, None),
        config({}, ("sha256:x",)),
        config({"Healthcheck": {"Interval": "1s"}}),
        config({"Healthcheck": {"Retries": -4}}),
    ],
)
def test_unsound_config(data: bytes) -> None:
    with pytest.raises(Rejected):
        parse_config(data)


def test_digest_of() -> None:
    assert digest_of(f"registry:5000/a/b@{A}") == A
    for name in ("a:1", f"a@{A[:-1]}", f"a@{A.upper()}", "a@md5:x"):
        with pytest.raises(Rejected):
            digest_of(name)
