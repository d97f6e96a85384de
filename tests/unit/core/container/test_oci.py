"""The rendered config: profile, templates, limits, mounts."""

import json
from typing import Any

import pytest

from stackd.core.container import capabilities, oci, profile
from stackd.core.container.users import User
from stackd.core.model.container import ContainerSpec, Mount, MountKind, Resources, Ulimit
from stackd.core.model.driver import ImageConfig
from stackd.errors import Rejected

FACTS = oci.NodeFacts(
    machine="x86_64",
    capabilities=capabilities.KNOWN,
    rlimits={"nofile": 20000, "core": -1},
    thermal=("/sys/devices/system/cpu/cpu0/thermal_throttle",),
)
PLACES = oci.Places("/r/merged", "/b/t1", "/run/netns/t1", "/stackd-c/n1/t1", "web-1")
ROOT = User(0, 0, (0,))


def wanted(spec: ContainerSpec, **over: Any) -> oci.Wanted:
    values: dict[str, Any] = {
        "image": ImageConfig(command=("run",)),
        "user": ROOT,
        "mounts": spec.mounts,
        "sources": {},
        "files": (),
    }
    return oci.Wanted(spec, **(values | over))


def render(spec: ContainerSpec, **over: Any) -> dict[str, Any]:
    return oci.render(wanted(spec, **over), PLACES, FACTS)


def test_baseline() -> None:
    config = render(ContainerSpec(image="i"))
    process, linux = config["process"], config["linux"]
    assert process["capabilities"]["bounding"] == sorted(capabilities.BASELINE)
    assert process["capabilities"]["inheritable"] == process["capabilities"]["ambient"] == []
    assert process["noNewPrivileges"] is True
    assert process["oomScoreAdj"] == 100
    assert process["terminal"] is False
    assert {entry["type"] for entry in linux["namespaces"]} == {
        *("network", "pid", "ipc", "uts", "mount", "cgroup"),
    }
    assert linux["namespaces"][0]["path"] == "/run/netns/t1"
    assert linux["cgroupsPath"] == "/stackd-c/n1/t1"
    assert linux["resources"] == {
        "devices": [{"allow": False, "access": "rwm"}],
        "pids": {"limit": 1024},
        "cpu": {"shares": 1024},
    }
    assert set(profile.MASKED_PATHS) < set(linux["maskedPaths"])
    assert "/sys/devices/system/cpu/cpu0/thermal_throttle" in linux["maskedPaths"]
    assert linux["sysctl"]["net.ipv4.ip_unprivileged_port_start"] == "0"
    assert config["root"] == {"path": "/r/merged", "readonly": False}


def test_template_filled_is_what_render_gives() -> None:
    spec = ContainerSpec(image="i", environment={"A": 'quo"te\n\\'}, init=True)
    text = oci.template(wanted(spec, files=("/run/secrets/k",)), FACTS)
    assert "/b/t1" not in text
    for places in (PLACES, oci.Places('/q"uote', "/b\\2", "/n", "/c", "ü")):
        expected = oci.render(wanted(spec, files=("/run/secrets/k",)), places, FACTS)
        assert json.loads(oci.fill(text, places)) == expected


@pytest.mark.parametrize("value", ["\0", "a\0hostname\0b", "\0root"])
def test_nul_in_a_value_is_rejected(value: str) -> None:
    with pytest.raises(Rejected, match="NUL"):
        oci.template(wanted(ContainerSpec(image="i", environment={"A": value})), FACTS)


def test_resources() -> None:
    asked = Resources(cpus=0.25, memory=32 << 20, pids=9)
    found = oci.resources(asked)
    assert found["cpu"] == {"shares": 1024, "quota": 25_000, "period": 100_000}
    assert found["memory"] == {"limit": 32 << 20, "swap": 32 << 20}
    assert found["pids"] == {"limit": 9}
    with pytest.raises(Rejected, match="too small"):
        oci.resources(Resources(memory=4 << 20))


def test_rlimits_are_clamped_to_the_agents() -> None:
    spec = ContainerSpec(
        image="i",
        ulimits={"nofile": Ulimit(soft=100_000, hard=-1), "core": Ulimit(soft=-1, hard=-1)},
    )
    limits = {entry["type"]: entry for entry in render(spec)["process"]["rlimits"]}
    assert (limits["RLIMIT_NOFILE"]["soft"], limits["RLIMIT_NOFILE"]["hard"]) == (20000, 20000)
    assert limits["RLIMIT_CORE"]["hard"] == 2**64 - 1
    with pytest.raises(Rejected, match="unknown"):
        render(ContainerSpec(image="i", ulimits={"files": Ulimit(soft=1, hard=1)}))


def test_mounts_are_ordered_and_replace_the_systems() -> None:
    spec = ContainerSpec(
        image="i",
        init=True,
        mounts=(
            Mount(kind=MountKind.VOLUME, source="v", target="/a/b/c", read_only=True),
            Mount(kind=MountKind.TMPFS, target="/a", size=4096, mode=0o700),
            Mount(kind=MountKind.TMPFS, target="/dev/shm"),
            Mount(kind=MountKind.BIND, source="/h", target="/etc/hosts"),
        ),
    )
    sources = {"/a/b/c": "/vol/data", "/etc/hosts": "/h"}
    mounts = render(spec, sources=sources, files=("/a/secret",))["mounts"]
    targets = [entry["destination"] for entry in mounts]
    assert len(targets) == len(set(targets))
    assert targets.index("/a") < targets.index("/a/secret") < targets.index("/a/b/c")
    by_target = {entry["destination"]: entry for entry in mounts}
    assert by_target["/a"]["options"] == ["nosuid", "nodev", "rw", "size=4096", "mode=700"]
    assert by_target["/dev/shm"]["options"][-1] == "mode=1777"
    assert by_target["/a/b/c"]["options"] == ["rbind", "rprivate", "ro", "nosuid", "nodev"]
    assert by_target["/etc/hosts"]["source"] == "/h"
    assert by_target["/sbin/init"]["source"] == "/usr/bin/tini-static"
    assert by_target["/a/secret"]["source"] == "/b/t1/files/0"
    assert "ro" in by_target["/a/secret"]["options"]


def test_no_mqueue_where_the_kernel_has_none() -> None:
    facts = oci.NodeFacts("x86_64", capabilities.KNOWN, {}, mqueue=False)
    config = oci.render(wanted(ContainerSpec(image="i")), PLACES, facts)
    assert "/dev/mqueue" not in [entry["destination"] for entry in config["mounts"]]
