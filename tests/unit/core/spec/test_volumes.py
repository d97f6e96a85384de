import pytest

from stackd.core.model.container import Mount, MountKind
from stackd.core.model.stack import VolumeSpec
from tests.unit.core.spec.stacks import CLI, document, faults, service, spec

DATA = "volumes: {data: , both: {shared: true}, far: {external: true}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data:/d", Mount(kind=MountKind.VOLUME, source="data", target="/d")),
        ("data:/d/:ro", Mount(kind=MountKind.VOLUME, source="data", target="/d", read_only=True)),
        ("both:/d", Mount(kind=MountKind.VOLUME, source="both", target="/d", shared=True)),
        ("data:/d:nocopy", Mount(kind=MountKind.VOLUME, source="data", target="/d", nocopy=True)),
        ("/srv/x:/d", Mount(kind=MountKind.BIND, source="/srv/x", target="/d")),
        (
            "{type: volume, source: data, target: /d, shared: true, volume: {subpath: a/b}}",
            Mount(kind=MountKind.VOLUME, source="data", target="/d", shared=True, subpath="a/b"),
        ),
        (
            "{type: tmpfs, target: /d, tmpfs: {size: 1m, mode: 0700}}",
            Mount(kind=MountKind.TMPFS, target="/d", size=2**20, mode=0o700),
        ),
    ],
)
def test_forms(text: str, expected: Mount) -> None:
    item = f"'{text}'" if not text.startswith("{") else text
    assert service(f"volumes: [{item}]", rest=DATA).container.mounts == (expected,)


def test_tmpfs_key() -> None:
    found = service("tmpfs: [/run, '/t:size=1k,mode=700']").container.mounts
    assert [(m.target, m.size, m.mode) for m in found] == [("/run", 0, 0o1777), ("/t", 1024, 0o700)]
    assert service("tmpfs: /run").container.mounts[0].target == "/run"


def test_declared_volumes() -> None:
    assert spec(document("") + DATA).volumes == {
        "data": VolumeSpec(name="shop_data"),
        "both": VolumeSpec(name="shop_both", shared=True),
        "far": VolumeSpec(name="far", external=True),
    }


def test_relative_binds_start_at_the_callers_folder() -> None:
    found = service("volumes: ['./a/../b:/d', '../c:/e']", CLI).container.mounts
    assert [mount.source for mount in found] == ["/home/me/shop/b", "/home/me/c"]
    assert "4:15 ./a is relative" in faults("volumes: ['./a:/d']")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("['none:/d']", "the volume 'none' is not declared"),
        ("[/d]", "an anonymous volume is not supported"),
        ("['data:d']", "is not a volume"),
        ("['data:/d:z']", "the option 'z' is not supported"),
        ("['data:/']", "nothing can be mounted at '/'"),
        ("['data:/proc/x']", "nothing can be mounted"),
        ("['data:/a/../proc']", "nothing can be mounted"),
        ("['~/x:/d']", "starts with `~`"),
        ("['/:/d']", "/ of the node cannot be mounted"),
        ("['/srv/../var/run/x:/d']", "/var/run/x of the node cannot be mounted"),
        ("['data:/d', 'data:/d/']", "4:26 /d is mounted twice"),
        ("[{type: volume, target: /d}]", "an anonymous volume"),
        ("[{type: bind, target: /d}]", "a bind mount needs a source"),
        ("[{type: tmpfs, source: x, target: /d}]", "a tmpfs has no source"),
        ("[{type: npipe, source: x, target: /d}]", "'npipe' is not supported by stackd"),
        ("[{type: bind, source: /x, target: /d, bind: {propagation: shared}}]", "propagation is"),
        ("[{type: volume, source: data, target: /d, volume: {subpath: ../x}}]", "leaves the volum"),
    ],
)
def test_faults(text: str, message: str) -> None:
    assert message in faults(f"volumes: {text}", rest=DATA)


def test_tmpfs_faults() -> None:
    assert "is not a tmpfs" in faults("tmpfs: run")
    assert "the tmpfs option 'uid' is not supported" in faults("tmpfs: '/run:uid=1'")
    assert "not a size" in faults("tmpfs: '/run:size=x'")


def test_top_level_faults() -> None:
    assert "driver_opts is not supported yet" in faults("", rest="volumes: {a: {driver_opts: {}}}")
    assert "'nfs' is unknown" in faults("", rest="volumes: {a: {driver: nfs}}")
