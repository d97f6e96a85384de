"""Images from a real registry: resolve, pull, moved tags, credentials, damage, killed pulls."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchfiles import awatch

from stackd.aio import proc
from stackd.errors import Refused, Unavailable
from stackd.registry.blobs import BlobStore
from stackd.registry.manifest import Manifest
from stackd.registry.service import ImageService, Needs
from stackd.registry.skopeo import Access
from tests.fakes.images import Layout
from tests.host.registry import Registry, serve

pytestmark = pytest.mark.host

LOGIN = ("ann", "s3cret-canary")


class Rig:
    """An image service with its own folders; logins and used digests are set by tests."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.logins: dict[str, Access] = {}
        self.used: list[str] = []
        self.private = root / "private"
        self.private.mkdir(mode=0o700)
        self.blobs = BlobStore(root / "blobs")
        self.images = self.start()

    def start(self) -> ImageService:
        needs = Needs(lambda host: self.logins.get(host, Access()), lambda: self.used, "amd64")
        return ImageService(self.blobs, self.private, needs)

    def leftovers(self) -> list[Path]:
        return [*self.blobs.tmp.iterdir(), *self.private.iterdir()]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve(tmp_path_factory.mktemp("guarded"), LOGIN) as running:
        yield running


@pytest.fixture
def trusted(rig: Rig, registry: Registry) -> Rig:
    rig.logins[registry.host] = Access(insecure=True)
    return rig


async def test_a_tag_is_resolved_and_its_image_is_whole(trusted: Rig, registry: Registry) -> None:
    layout = Layout()
    digest = registry.push(layout, layout.image("one"), "shop/web", "1")
    resolved = await trusted.images.resolve(f"{registry.host}/shop/web:1")
    assert resolved == (digest, False)
    image = await trusted.images.ensure(f"{registry.host}/shop/web@{digest}")
    assert isinstance(image, Manifest)
    assert all(trusted.blobs.verify(blob.digest) for blob in image.blobs)
    assert trusted.images.open_blob(image.layers[0].digest).stat().st_size == image.layers[0].size
    assert trusted.leftovers() == []


async def test_a_moved_tag_means_another_digest(trusted: Rig, registry: Registry) -> None:
    name = f"{registry.host}/shop/moving:1"
    before, after = Layout(), Layout()
    old = registry.push(before, before.image("old"), "shop/moving", "1")
    assert (await trusted.images.resolve(name)).digest == old
    new = registry.push(after, after.image("new"), "shop/moving", "1")
    assert (await trusted.images.resolve(name)).digest == new != old
    image = await trusted.images.ensure(f"{registry.host}/shop/moving@{old}")
    assert {f"sha256:{name[-64:]}" for name in before.files} == {
        old, *(blob.digest for blob in image.blobs)
    }  # fmt: skip


async def test_of_an_index_only_the_wanted_platform_comes(trusted: Rig, registry: Registry) -> None:
    layout = Layout()
    intel, arm = layout.image("one"), layout.image("two", "arm64")
    digest = registry.push(layout, layout.index(intel, arm), "shop/multi", "1")
    name = f"{registry.host}/shop/multi"
    assert (await trusted.images.resolve(f"{name}:1")).digest == digest
    await trusted.images.ensure(f"{name}@{digest}")
    assert trusted.blobs.has(intel["digest"])
    assert not trusted.blobs.has(arm["digest"])
    await trusted.images.ensure(f"{name}@{digest}", "arm64")
    assert trusted.blobs.has(arm["digest"])
    with pytest.raises(Refused, match="linux/s390x"):
        await trusted.images.ensure(f"{name}@{digest}", "s390x")


async def test_a_local_name_wins(trusted: Rig, registry: Registry, tmp_path: Path) -> None:
    pushed, loaded = Layout(), Layout()
    remote = registry.push(pushed, pushed.image("remote"), "shop/both", "1")
    name = f"{registry.host}/shop/both:1"
    local = loaded.name(loaded.image("local"), name)
    await trusted.images.load(loaded.archive(tmp_path / "a.tar"))
    assert await trusted.images.resolve(name) == (local, True)
    await trusted.images.rm(name)
    assert await trusted.images.resolve(name) == (remote, False)


async def test_names_of_pulled_images_are_kept_but_not_local(
    trusted: Rig, registry: Registry
) -> None:
    layout = Layout()
    digest = registry.push(layout, layout.image("one"), "shop/kept", "1")
    name = f"{registry.host}/shop/kept:1"
    info = await trusted.images.pull(name)
    assert (info.digest, info.local) == (digest, False)
    assert [one.name for one in trusted.images.ls()] == [name]
    assert await trusted.images.resolve(name) == (digest, False)
    trusted.used = [digest]
    assert await trusted.images.rm(name) == 0
    trusted.used = []
    assert await trusted.images.collect() > 0
    assert list(trusted.blobs.all()) == []


async def test_a_damaged_blob_is_pulled_again(trusted: Rig, registry: Registry) -> None:
    layout = Layout()
    digest = registry.push(layout, layout.image("one"), "shop/damaged", "1")
    pinned = f"{registry.host}/shop/damaged@{digest}"
    image = await trusted.images.ensure(pinned)
    path = trusted.images.open_blob(image.layers[0].digest)
    path.write_bytes(b"x" * image.layers[0].size)
    await trusted.images.ensure(pinned, again=True)
    assert trusted.blobs.verify(image.layers[0].digest)
    path.write_bytes(b"short")
    await trusted.images.ensure(pinned)
    assert trusted.blobs.verify(image.layers[0].digest)


async def test_many_at_once_pull_once(trusted: Rig, registry: Registry) -> None:
    layout = Layout()
    digest = registry.push(layout, layout.image("one"), "shop/once", "1")
    pinned = f"{registry.host}/shop/once@{digest}"
    found = await asyncio.gather(*(trusted.images.ensure(pinned) for _ in range(8)))
    assert all(image is found[0] for image in found)


async def test_a_killed_pull_leaves_nothing_that_counts(trusted: Rig, registry: Registry) -> None:
    layout = Layout()
    digest = registry.push(layout, layout.image("one"), "shop/killed", "1")
    pinned = f"{registry.host}/shop/killed@{digest}"
    pull = asyncio.ensure_future(trusted.images.ensure(pinned))
    async for _ in awatch(trusted.blobs.tmp, step=1, debounce=1):
        break
    pull.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pull
    assert trusted.leftovers() == []
    assert all(trusted.blobs.verify(blob) for blob, _ in list(trusted.blobs.all()))

    (trusted.blobs.tmp / "pull-dead").mkdir()
    (trusted.blobs.tmp / "pull-dead" / "oci-put-blob1").write_bytes(b"half")
    trusted.images = trusted.start()
    assert trusted.leftovers() == []
    await trusted.images.ensure(pinned)


async def test_a_registry_that_asks_for_a_login(rig: Rig, guarded: Registry) -> None:
    layout = Layout()
    digest = guarded.push(layout, layout.image("one"), "shop/web", "1")
    name = f"{guarded.host}/shop/web:1"
    rig.logins[guarded.host] = Access(insecure=True)
    with pytest.raises(Refused, match="does not let") as caught:
        await rig.images.resolve(name)
    assert "registry login" in caught.value.remedy
    rig.logins[guarded.host] = Access(LOGIN[0], "wrong", insecure=True)
    with pytest.raises(Refused, match="does not let"):
        await rig.images.resolve(name)
    rig.logins[guarded.host] = Access(*LOGIN, insecure=True)
    assert (await rig.images.resolve(name)).digest == digest
    await rig.images.ensure(f"{guarded.host}/shop/web@{digest}")
    assert rig.leftovers() == []
    written = [path.read_bytes() for path in rig.root.rglob("*") if path.is_file()]
    assert not any(LOGIN[1].encode() in content for content in written)


async def test_a_login_is_tried_before_it_is_kept(rig: Rig, guarded: Registry) -> None:
    await rig.images.try_login(guarded.host, Access(*LOGIN, insecure=True))
    with pytest.raises(Refused):
        await rig.images.try_login(guarded.host, Access(LOGIN[0], "wrong", insecure=True))
    assert rig.leftovers() == []


async def test_plain_http_is_spoken_only_where_it_is_allowed(rig: Rig, registry: Registry) -> None:
    with pytest.raises(Refused, match="plain HTTP") as caught:
        await rig.images.resolve(f"{registry.host}/shop/web:1")
    assert "--insecure" in caught.value.remedy


async def test_unknown_names_and_silent_registries(trusted: Rig, registry: Registry) -> None:
    with pytest.raises(Refused, match="does not exist"):
        await trusted.images.resolve(f"{registry.host}/shop/nothing:1")
    with pytest.raises(Unavailable, match="refuses connections"):
        await trusted.images.resolve("127.0.0.1:1/shop/web:1")


async def test_a_docker_archive_takes_its_names(rig: Rig, tmp_path: Path) -> None:
    layout = Layout()
    layout.name(layout.image("one"), "x:1")
    source = layout.archive(tmp_path / "oci.tar")
    target = tmp_path / "docker.tar"
    await proc.run(
        proc.Command(
            [
                "skopeo", "--insecure-policy", "copy", "-q", f"oci-archive:{source}",
                f"docker-archive:{target}:registry.example/my/thing:9",
            ]
        )
    )  # fmt: skip
    loaded = await rig.images.load(target)
    assert [image.name for image in loaded] == ["registry.example/my/thing:9"]
    image = await rig.images.ensure(f"registry.example/my/thing@{loaded[0].digest}")
    assert all(rig.blobs.verify(blob.digest) for blob in image.blobs)
    again = await rig.images.load(target, "other:1")
    assert [image.name for image in again] == ["other:1"]
    assert rig.leftovers() == []
