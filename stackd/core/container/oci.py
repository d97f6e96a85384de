"""The OCI config.json of a task: the `baseline` profile applied to what the stack file asks.

`render` is pure; the runtime calls it once per revision with markers for whatever differs between
tasks (`template`) and puts the real paths in with `fill`, which costs next to nothing per task.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from stackd.core.container import capabilities, mounts, process, profile, seccomp
from stackd.core.container.users import User
from stackd.core.model.container import ContainerSpec, Mount, Resources
from stackd.core.model.driver import ImageConfig
from stackd.errors import Rejected

INIT = "/usr/bin/tini-static"
INIT_TARGET = "/sbin/init"


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the agent itself may do, which bounds what it can give."""

    machine: str
    """x86_64 or aarch64."""
    capabilities: tuple[str, ...]
    rlimits: Mapping[str, int]
    """Hard limits of the agent by lower-case name; -1 unlimited; absent = leave alone."""
    oom_score_adj: int = 0
    mqueue: bool = True
    thermal: tuple[str, ...] = ()
    """The existing cpuN/thermal_throttle folders, masked because they leak timing."""


@dataclass(frozen=True, slots=True)
class Places:
    """What differs between two tasks of one revision."""

    root: str
    bundle: str
    """Folder with etc/{hosts,resolv.conf,hostname} and files/<n> for configs and secrets."""
    netns: str
    cgroup: str
    hostname: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """All that tasks of one revision share. `mounts`: the service's and what the image adds;
    `sources`: mount target -> host path; `files`: targets of configs and secrets in the order of
    their numbers in the bundle."""

    spec: ContainerSpec
    image: ImageConfig
    user: User
    mounts: tuple[Mount, ...]
    sources: Mapping[str, str]
    files: tuple[str, ...]


def render(wanted: Wanted, places: Places, facts: NodeFacts) -> dict[str, Any]:
    """The whole config. Raises Rejected for what this node cannot give."""
    spec = wanted.spec
    held = capabilities.granted(spec.cap_add, spec.cap_drop, facts.capabilities)
    return {
        "ociVersion": "1.0.2",
        "hostname": places.hostname,
        "root": {"path": places.root, "readonly": spec.read_only},
        "process": {
            "terminal": spec.tty,
            "user": _user(wanted.user),
            "args": list(process.arguments(spec, wanted.image, (INIT_TARGET, "-s", "--"))),
            "env": list(process.environment(spec, wanted.image, places.hostname)),
            "cwd": process.working_dir(spec, wanted.image),
            "capabilities": {
                "bounding": list(held),
                "effective": list(held),
                "permitted": list(held),
                "inheritable": [],
                "ambient": [],
            },
            "rlimits": process.rlimits(spec.ulimits, facts.rlimits),
            "noNewPrivileges": True,
            "oomScoreAdj": max(profile.OOM_SCORE_ADJ, facts.oom_score_adj),
        },
        "mounts": _mounts(wanted, places, facts),
        "linux": {
            "namespaces": [
                {"type": "network", "path": places.netns},
                *({"type": name} for name in ("pid", "ipc", "uts", "mount", "cgroup")),
            ],
            "cgroupsPath": places.cgroup,
            "resources": resources(spec.resources),
            "sysctl": dict(profile.SYSCTLS),
            "maskedPaths": [*profile.MASKED_PATHS, *facts.thermal],
            "readonlyPaths": list(profile.READONLY_PATHS),
            "rootfsPropagation": "rprivate",
            "seccomp": seccomp.profile(facts.machine, held),
        },
    }


def resources(wanted: Resources) -> dict[str, Any]:
    """The OCI `linux.resources`. Raises Rejected when memory is too little for runc itself."""
    result: dict[str, Any] = {
        "devices": [{"allow": False, "access": "rwm"}],
        "pids": {"limit": wanted.pids or profile.DEFAULT_PIDS},
        "cpu": {"shares": profile.CPU_SHARES},
    }
    if wanted.cpus:
        quota = max(1000, round(wanted.cpus * profile.CPU_PERIOD))
        result["cpu"] |= {"quota": quota, "period": profile.CPU_PERIOD}
    if wanted.memory:
        if wanted.memory < profile.MINIMUM_MEMORY:
            raise Rejected(
                f"A memory limit of {wanted.memory} bytes is too small to start a container.",
                "Give it at least 6 MiB.",
            )
        result["memory"] = {"limit": wanted.memory, "swap": wanted.memory}
    return result


def _user(user: User) -> dict[str, Any]:
    return {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups), "umask": 0o022}


def _mounts(wanted: Wanted, places: Places, facts: NodeFacts) -> list[dict[str, Any]]:
    spec = wanted.spec
    system = [dict(m) for m in profile.SYSTEM_MOUNTS if m["type"] != "mqueue" or facts.mqueue]
    own = mounts.render(wanted.mounts, wanted.sources)
    taken = {str(entry["destination"]) for entry in own} | {mounts.normal(t) for t in wanted.files}
    mode = "ro" if spec.read_only else "rw"
    for name in ("hosts", "hostname", "resolv.conf"):
        if f"/etc/{name}" not in taken:
            own.append(mounts.bind(f"{places.bundle}/etc/{name}", f"/etc/{name}", mode))
    if spec.init:
        own.append(mounts.bind(INIT, INIT_TARGET, "ro"))
    closed = ("ro", "nosuid", "nodev", "noexec")
    for number, target in enumerate(wanted.files):
        source = f"{places.bundle}/files/{number}"
        own.append(mounts.bind(source, mounts.normal(target), *closed))
    replaced = [entry for entry in system if entry["destination"] not in taken]
    return [*replaced, *mounts.ordered(own)]


_NUL = "\\u0000"
_BLANK = Places(*("" for _ in fields(Places)))
_MARKERS = Places(*(f"\0{field.name}\0" for field in fields(Places)))


def template(wanted: Wanted, facts: NodeFacts) -> str:
    """The config as JSON text with a marker for each field of Places. Raises Rejected."""
    if _NUL in json.dumps(render(wanted, _BLANK, facts)):
        raise Rejected("A value of this service contains a NUL character.", "Remove it.")
    return json.dumps(render(wanted, _MARKERS, facts), separators=(",", ":"))


def fill(text: str, places: Places) -> str:
    """Put the real places into a template."""
    for field in fields(Places):
        value = str(getattr(places, field.name))
        text = text.replace(_escaped(f"\0{field.name}\0"), _escaped(value))
    return text


def _escaped(value: str) -> str:
    return json.dumps(value)[1:-1]
