from stackd.core.model.container import ContainerSpec, Mount, MountKind
from stackd.core.spec.assembly import is_singleton
from tests.unit.core.spec.stacks import document, errors


def holds(kind: MountKind, *, read_only: bool = False, shared: bool = False) -> bool:
    mount = Mount(kind=kind, target="/d", read_only=read_only, shared=shared)
    return is_singleton(ContainerSpec(image="x", mounts=(mount,)))


def test_singletons_write_to_something_that_outlives_them() -> None:
    assert holds(MountKind.VOLUME)
    assert holds(MountKind.BIND)
    assert not holds(MountKind.TMPFS)
    assert not holds(MountKind.VOLUME, read_only=True)
    assert not holds(MountKind.VOLUME, shared=True)


def test_faults_stand_at_the_item_they_concern() -> None:
    text = document("tmpfs:\n  - /ok\n  - bad\nvolumes:\n  - none:/x")
    assert [line.split(" ")[0] for line in errors(text)] == ["6:9", "8:9"]


def test_both_ways_to_say_a_strategy_are_refused_at_the_second() -> None:
    text = document("deploy:\n  strategy: rolling\n  update_config: {}")
    assert errors(text) == [
        "6:7 strategy and update_config are both given: they say the same, keep one"
    ]
