"""Manifests and configs: both families are read, ambiguity is refused."""

import json
from typing import Any

import pytest

from stackd.errors import Refused
from stackd.registry import manifest
from stackd.registry.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
)

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def entry(digest: str, kind: str, size: int = 7, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest, "size": size, **more}


def image(**changes: Any) -> bytes:
    base: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": entry(A, OCI_CONFIG),
        "layers": [entry(B, OCI_LAYER), entry(C, OCI_LAYER)],
    }
    return json.dumps({**base, **changes}).encode()


def index(*platforms: dict[str, str], kind: str = OCI_INDEX) -> bytes:
    manifests = [
        entry(f"sha256:{number:064x}", OCI_MANIFEST, platform=platform)
        for number, platform in enumerate(platforms)
    ]
    data = {"schemaVersion": 2, "mediaType": kind, "manifests": manifests}
    return json.dumps(data).encode()


def test_an_oci_manifest() -> None:
    parsed = manifest.parse(image())
    assert isinstance(parsed, Manifest)
    assert parsed.config.digest == A
    assert [layer.digest for layer in parsed.layers] == [B, C]
    assert [blob.digest for blob in parsed.blobs] == [A, B, C]


def test_a_docker_manifest() -> None:
    config = entry(A, "application/vnd.docker.container.image.v1+json")
    layers = [entry(B, "application/vnd.docker.image.rootfs.diff.tar.gzip")]
    parsed = manifest.parse(image(mediaType=DOCKER_MANIFEST, config=config, layers=layers))
    assert isinstance(parsed, Manifest)


def test_the_media_type_may_be_absent_in_oci() -> None:
    data = json.loads(image())
    del data["mediaType"]
    assert isinstance(manifest.parse(json.dumps(data).encode()), Manifest)


@pytest.mark.parametrize(
    "document",
    [
        b"", b"null", b"[]", b"{", b"\xff\xfe", b"{}", b'{"schemaVersion": 1}',
        b'{"schemaVersion": 2, "schemaVersion": 2}',
        b'{"schemaVersion": NaN}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b" " * (manifest.MAX_DOCUMENT + 1),
        image(manifests=[]),
        image(mediaType=OCI_INDEX),
        image(mediaType=DOCKER_LIST),
        image(mediaType=7),
        image(config=entry(A, "application/vnd.cncf.helm.config.v1+json")),
        image(config=None),
        image(layers=None),
        image(layers=[entry(B, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")]),
        image(layers=[entry(B, OCI_LAYER, urls=["https://elsewhere.example/x"])]),
        image(layers=[entry(B, OCI_LAYER, size=-1)]),
        image(layers=[entry(B, OCI_LAYER, size=True)]),
        image(layers=[entry(B, OCI_LAYER, size=1 << 62)]),
        image(layers=[entry("sha1:abc", OCI_LAYER)]),
        image(layers=[entry("sha256:../../x", OCI_LAYER)]),
        image(layers=[entry(B.upper(), OCI_LAYER)]),
        image(layers=[entry(B, OCI_LAYER)] * 128),
        image(layers=[entry(B, OCI_LAYER, size=manifest.MAX_IMAGE_BYTES)] * 2),
        image(layers=[7]),
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_or_harms_is_refused(document: bytes) -> None:
    with pytest.raises(Refused):
        manifest.parse(document)


def test_the_platform_is_picked() -> None:
    parsed = manifest.parse(
        index(
            {"os": "unknown", "architecture": "unknown"},
            {"os": "linux", "architecture": "arm64", "variant": "v8"},
            {"os": "linux", "architecture": "amd64"},
            kind=DOCKER_LIST,
        )
    )
    assert isinstance(parsed, Index)
    assert manifest.pick(parsed, "amd64").digest == f"sha256:{2:064x}"
    assert manifest.pick(parsed, "arm64").digest == f"sha256:{1:064x}"


def test_a_missing_platform_names_those_that_exist() -> None:
    parsed = Index((Descriptor(OCI_MANIFEST, A, 1, "linux/s390x"),))
    with pytest.raises(Refused, match="no manifest for linux/amd64") as caught:
        manifest.pick(parsed, "amd64")
    assert "linux/s390x" in caught.value.remedy


def test_an_index_within_an_index_is_not_a_platform() -> None:
    parsed = Index((Descriptor(OCI_INDEX, A, 1, "linux/amd64"),))
    with pytest.raises(Refused):
        manifest.pick(parsed, "amd64")


def config(**inner: Any) -> bytes:
    data = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [A, B]},
        "config": inner,
    }
    return json.dumps(data).encode()


def test_a_config() -> None:
    parsed = manifest.parse_config(
        config(
            Entrypoint=["/bin/a"], Cmd=["b"], Env=["X=1"], User="7:8", WorkingDir="/w",
            StopSignal="SIGINT", Volumes={"/data": {}},
            Healthcheck={"Test": ["CMD-SHELL", "true"], "Interval": 2_000_000_000, "Retries": 4},
        )
    )  # fmt: skip
    assert parsed.layers == (A, B)
    assert (parsed.os, parsed.architecture) == ("linux", "amd64")
    found = parsed.image
    assert (found.entrypoint, found.command, found.environment) == (("/bin/a",), ("b",), ("X=1",))
    assert (found.user, found.working_dir, found.stop_signal) == ("7:8", "/w", "SIGINT")
    assert found.volumes == ("/data",)
    assert found.health_test == ("/bin/sh", "-c", "true")
    assert (found.health_interval, found.health_retries) == (2.0, 4)


def test_nulls_in_a_config_mean_nothing() -> None:
    parsed = manifest.parse_config(config(Entrypoint=None, Cmd=None, Env=None, Volumes=None))
    assert parsed.image.command == ()
    assert manifest.parse_config(config(Healthcheck={"Test": ["NONE"]})).image.health_test == ()


@pytest.mark.parametrize(
    "document",
    [
        config(Cmd="sh -c"),
        config(Env=[1]),
        config(User=7),
        config(User="a\0b"),
        config(Volumes=["/x"]),
        config(Healthcheck={"Test": ["what"]}),
        config(Healthcheck={"Test": ["CMD", "x"], "Interval": -1}),
        b'{"rootfs": {"type": "layers", "diff_ids": ["sha256:x"]}}',
        b'{"rootfs": {"type": "other", "diff_ids": []}}',
        b"{}",
    ],
)
def test_a_config_that_lies_is_refused(document: bytes) -> None:
    with pytest.raises(Refused):
        manifest.parse_config(document)
