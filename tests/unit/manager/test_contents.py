"""Configs and secrets: limits, owners, revocation, and values that never leave in clear."""

import pytest

from stackd.core.model.container import ContainerSpec, Grant
from stackd.core.model.ids import RevisionId
from stackd.core.model.release import (
    ContentHead,
    ContentKind,
    ContentVersion,
    Release,
    Revision,
    ServiceRelease,
    Stack,
)
from stackd.core.model.rollout import ServiceState
from stackd.core.model.stack import ContentSpec, ServiceSpec, StackSpec
from stackd.errors import Refused
from stackd.manager.contents import LIMITS, Contents, NewContent, used_by, version_users
from stackd.store.seal import Sealer
from tests.fakes.harness import Harness

CONFIG, SECRET = ContentKind.CONFIG, ContentKind.SECRET


def contents(on: Harness) -> Contents:
    return Contents(on.context, Sealer(b"k" * 32))


def new(kind: ContentKind, value: bytes, name: str = "key", stack: str = "") -> NewContent:
    return NewContent(kind, name, value, "root@local", stack)


@pytest.mark.parametrize("kind", list(ContentKind))
async def test_a_value_is_kept_and_opened_again(kind: ContentKind) -> None:
    async with Harness() as on:
        version = await contents(on).put(new(kind, b"value"))
        assert contents(on).open(kind, "key", version) == b"value"
        assert contents(on).current(kind, "key") == version
        assert [e.kind for e in on.events()] == [f"{kind}.changed"]


async def test_a_secret_is_sealed_in_the_store_and_its_version_tells_nothing() -> None:
    async with Harness() as on:
        version = await contents(on).put(new(SECRET, b"hunter2"))
        other = Contents(on.context, Sealer(b"x" * 32))
        assert other.version_of(SECRET, "key", b"hunter2") != version
        assert other.version_of(CONFIG, "key", b"v") == contents(on).version_of(CONFIG, "z", b"v")
        stored = b"".join(item.value for item in on.store.keys.values())
        assert b"hunter2" not in stored
        assert "hunter2" not in repr(new(SECRET, b"hunter2"))


async def test_the_same_value_again_writes_nothing() -> None:
    async with Harness() as on:
        first = await contents(on).put(new(SECRET, b"v"))
        before = on.store.revision
        assert await contents(on).put(new(SECRET, b"v")) == first
        assert on.store.revision == before


async def test_versions_stay_behind_one_name() -> None:
    async with Harness() as on:
        first = await contents(on).put(new(SECRET, b"1"))
        second = await contents(on).put(new(SECRET, b"2"))
        assert contents(on).current(SECRET, "key") == second
        assert contents(on).open(SECRET, "key", first) == b"1"
        assert await contents(on).put(new(SECRET, b"1")) == first
        assert contents(on).current(SECRET, "key") == first


@pytest.mark.parametrize("kind", list(ContentKind))
async def test_the_limit(kind: ContentKind) -> None:
    async with Harness() as on:
        await contents(on).put(new(kind, b"x" * LIMITS[kind]))
        with pytest.raises(Refused, match=f"the limit is {LIMITS[kind]}"):
            await contents(on).put(new(kind, b"x" * (LIMITS[kind] + 1), name="big"))


@pytest.mark.parametrize(
    ("owner", "other", "said"),
    [("shop", "", "stack shop"), ("", "shop", "the command line"), ("a", "b", "stack a")],
)
async def test_a_name_of_another_owner(owner: str, other: str, said: str) -> None:
    async with Harness() as on:
        await contents(on).put(new(CONFIG, b"1", stack=owner))
        with pytest.raises(Refused, match=f"config key belongs to {said}"):
            await contents(on).put(new(CONFIG, b"2", stack=other))


async def test_a_revoked_version_is_emptied_and_never_opened_again() -> None:
    async with Harness() as on:
        first = await contents(on).put(new(SECRET, b"1"))
        second = await contents(on).put(new(SECRET, b"2"))
        with pytest.raises(Refused, match="is the current version"):
            await contents(on).remove(SECRET, "key", second, "root@local")
        with pytest.raises(Refused, match="has no version nosuch"):
            await contents(on).remove(SECRET, "key", "nosuch", "root@local")
        await contents(on).remove(SECRET, "key", first, "root@local")
        kept = on.world.get(ContentVersion, f"secret/key/{first}")
        assert kept is not None
        assert (kept.value, kept.revoked) == (b"", True)
        with pytest.raises(Refused, match="has no version"):
            contents(on).open(SECRET, "key", first)


async def test_a_revoked_value_may_be_given_again_on_purpose() -> None:
    async with Harness() as on:
        first = await contents(on).put(new(SECRET, b"1"))
        await contents(on).put(new(SECRET, b"2"))
        await contents(on).remove(SECRET, "key", first, "root@local")
        assert await contents(on).put(new(SECRET, b"1")) == first
        assert contents(on).open(SECRET, "key", first) == b"1"


async def test_removal_takes_every_version() -> None:
    async with Harness() as on:
        for number in range(150):
            await contents(on).put(new(CONFIG, b"%d" % number))
        await contents(on).remove(CONFIG, "key", "", "root@local")
        assert list(on.world.all(ContentVersion)) == []
        assert list(on.world.all(ContentHead)) == []
        assert used_by(on.world, CONFIG, "key") == []


async def test_what_is_not_there() -> None:
    async with Harness() as on:
        with pytest.raises(Refused, match="no secret key"):
            contents(on).current(SECRET, "key")
        with pytest.raises(Refused, match="no secret key"):
            await contents(on).remove(SECRET, "key", "", "root@local")


async def test_a_version_is_in_use_while_a_next_task_may_need_it() -> None:
    async with Harness() as on:
        for value in (b"1", b"2"):
            await contents(on).put(new(SECRET, value))
        first, second = (contents(on).version_of(SECRET, "key", v) for v in (b"1", b"2"))
        for revision, version in (("r1", first), ("r2", second)):
            grant = Grant(name="key", target="/run/secrets/key", version=version)
            container = ContainerSpec(image="a@sha256:1", secrets=(grant,))
            await on.put(
                Revision(stack="shop", service="web", id=RevisionId(revision), container=container)
            )
        spec = StackSpec(name="shop", services={}, secrets={"key": ContentSpec(name="key")})
        part = ServiceRelease(spec=ServiceSpec(name="web", container=ContainerSpec(image="a")),
                              revision=RevisionId("r2"))  # fmt: skip
        await on.put(Release(stack="shop", number=1, spec=spec, services={"web": part}))
        await on.put(Stack(name="shop", owner="cli", release=1))
        await on.put(ServiceState(stack="shop", service="web", stable=RevisionId("r1")))
        old = on.tables.world.get(ContentVersion, f"secret/key/{first}")
        assert old is not None
        assert version_users(on.tables.world, old) == ["shop/web"]
        with pytest.raises(Refused, match="is used by shop/web"):
            await contents(on).remove(SECRET, "key", first, "root")
        await on.put(ServiceState(stack="shop", service="web", stable=RevisionId("r2")))
        await contents(on).remove(SECRET, "key", first, "root")
        with pytest.raises(Refused, match="no version"):
            contents(on).open(SECRET, "key", first)
