"""Revision ids are stable: the golden ids below may never change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackd.core.model.container import (
    Attachment,
    ContainerSpec,
    Grant,
    HealthCheck,
    Mount,
    MountKind,
    Resources,
    Ulimit,
)
from stackd.core.model.record import Record
from stackd.core.model.release import ContentHead, ContentKind, ContentVersion, Revision
from stackd.core.model.stack import ServiceSpec
from stackd.core.model.world import World
from stackd.core.plan.revision import renewed, revision_id, revision_of
from stackd.errors import Refused

DIGEST = "sha256:" + "a" * 64
FULL = ContainerSpec(
    image=f"shop/web@{DIGEST}",
    command=("serve", "--port", "80"),
    entrypoint=("/init",),
    init=True,
    environment={"B": "2", "A": "1"},
    working_dir="/srv",
    user="1000:1000",
    hostname="web",
    labels={"x": "y"},
    read_only=True,
    mounts=(Mount(kind=MountKind.VOLUME, source="data", target="/data"),),
    configs=(Grant(name="app", target="/etc/app", version="0123456789ab"),),
    secrets=(Grant(name="key", target="/run/secrets/key", mode=0o400, version="ba9876543210"),),
    networks=(Attachment(network="default", aliases=("www",)),),
    healthcheck=HealthCheck(command=("/bin/check",), interval=2.0),
    stop_signal="SIGQUIT",
    stop_grace_period=20.0,
    cap_add=("NET_RAW",),
    cap_drop=("CHOWN",),
    ulimits={"nofile": Ulimit(soft=100, hard=200)},
    resources=Resources(cpus=0.5, memory=64 * 2**20),
)
GOLDEN = {
    "plain": (ContainerSpec(image=f"a@{DIGEST}"), "84d28ba44fb5"),
    "full": (FULL, "b5fd40ebe1fb"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_ids_never_change(name: str) -> None:
    container, expected = GOLDEN[name]
    assert revision_id(container) == expected


def test_a_field_at_its_default_is_not_in_the_id() -> None:
    plain = ContainerSpec(image=f"a@{DIGEST}")
    spelled = ContainerSpec(
        image=f"a@{DIGEST}", stop_grace_period=10.0, tty=False, resources=Resources()
    )
    assert revision_id(plain) == revision_id(spelled)


def test_only_the_digest_of_the_image_counts() -> None:
    assert revision_id(ContainerSpec(image=f"a@{DIGEST}")) == revision_id(
        ContainerSpec(image=f"mirror/b@{DIGEST}")
    )


def test_sharing_a_volume_is_no_new_revision() -> None:
    def with_mount(shared: bool) -> ContainerSpec:
        mount = Mount(kind=MountKind.VOLUME, source="d", target="/d", shared=shared)
        return ContainerSpec(image=f"a@{DIGEST}", mounts=(mount,))

    assert revision_id(with_mount(True)) == revision_id(with_mount(False))


@given(st.permutations(["A", "B", "C", "D"]))
def test_the_order_of_a_mapping_does_not_matter(order: list[str]) -> None:
    ordered = ContainerSpec(image=f"a@{DIGEST}", environment={k: k for k in order})
    by_name = ContainerSpec(image=f"a@{DIGEST}", environment={k: k for k in sorted(order)})
    assert revision_id(ordered) == revision_id(by_name)


def test_a_new_secret_version_is_a_new_revision() -> None:
    spec = ServiceSpec(
        name="web",
        container=ContainerSpec(
            image="web:1", secrets=(Grant(name="key", target="/run/secrets/key"),)
        ),
    )
    image = f"web@{DIGEST}"
    first = revision_of("shop", spec, image, {"secret/key": "v1"})
    second = revision_of("shop", spec, image, {"secret/key": "v2"})
    assert first.id != second.id
    assert first.container.secrets[0].version == "v1"
    assert first.image_name == "web:1"


def _world(*records: Record) -> World:
    world = World()
    for number, record in enumerate(records, 1):
        world.apply(record, number)
    return world


def _version(version: str, *, revoked: bool = False) -> ContentVersion:
    return ContentVersion(
        kind=ContentKind.SECRET, name="shop_key", version=version, value=b"", size=0,
        revoked=revoked,
    )  # fmt: skip


def _keyed(version: str) -> Revision:
    container = ContainerSpec(
        image="a@sha256:1", secrets=(Grant(name="key", target="/run/secrets/key", version=version),)
    )
    return Revision(stack="shop", service="web", id=revision_id(container), container=container)


def test_a_revision_with_a_revoked_secret_is_renewed() -> None:
    head = ContentHead(kind=ContentKind.SECRET, name="shop_key", version="v2")
    old = _keyed("v1")
    good = _world(_version("v1"), _version("v2"), head)
    assert renewed(good, old) == (old, ())
    world = _world(_version("v1", revoked=True), _version("v2"), head)
    fresh, notes = renewed(world, old)
    assert fresh == _keyed("v2")
    assert notes == ("version v1 of secret shop_key was revoked, v2 is used",)


def test_a_secret_that_has_gone_cannot_come_back() -> None:
    with pytest.raises(Refused, match="no secret shop_key any more"):
        renewed(_world(), _keyed("v1"))
