"""The process of a container: arguments, environment, working folder and limits.

The rules are Compose's: `entrypoint` drops the image's command, `command` alone keeps its
entrypoint, the environment of the stack file wins over the image's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stackd.core.container import mounts, profile
from stackd.core.model.container import ContainerSpec, Ulimit
from stackd.core.model.driver import ImageConfig
from stackd.errors import Rejected

_UNLIMITED = 2**64 - 1


def arguments(spec: ContainerSpec, image: ImageConfig, init: Sequence[str]) -> tuple[str, ...]:
    """argv, led by `init` when the service asks for one. Raises Rejected when there is none."""
    entrypoint = image.entrypoint if spec.entrypoint is None else spec.entrypoint
    if spec.command is not None:
        command = spec.command
    else:
        command = image.command if spec.entrypoint is None else ()
    argv = tuple(entrypoint) + tuple(command)
    if not argv or not argv[0]:
        raise Rejected(
            "Neither the image nor the stack file says which command to run.",
            "Add a command or an entrypoint to the service.",
        )
    return (*init, *argv) if spec.init else argv


def environment(spec: ContainerSpec, image: ImageConfig, hostname: str) -> tuple[str, ...]:
    """`NAME=value` lines: defaults, then the image's, then the stack file's."""
    path, _, search = profile.DEFAULT_PATH.partition("=")
    values = {path: search, "HOSTNAME": hostname}
    if spec.tty:
        values["TERM"] = "xterm"
    for entry in image.environment:
        name, separator, value = entry.partition("=")
        if name and separator:
            values[name] = value
    values.update(spec.environment)
    return tuple(f"{name}={value}" for name, value in values.items())


def working_dir(spec: ContainerSpec, image: ImageConfig) -> str:
    """Where the process starts. Raises Rejected for a folder of the runtime's own trees."""
    chosen = spec.working_dir or image.working_dir or "/"
    if not chosen.startswith("/"):
        chosen = f"/{chosen}"
    path = mounts.normal(chosen)
    if mounts.closed(path):
        raise Rejected(
            f"The working folder {path} is not allowed.", "Choose one outside /proc, /sys, /dev."
        )
    return path


def rlimits(wanted: Mapping[str, Ulimit], held: Mapping[str, int]) -> list[dict[str, Any]]:
    """OCI rlimits: the profile's, then the service's, none above the agent's own hard limit."""
    result = []
    for name, limit in sorted({**profile.RLIMITS, **wanted}.items()):
        if name not in profile.RLIMIT_NAMES:
            raise Rejected(f"The ulimit {name!r} is unknown.", "Correct ulimits; see setrlimit(2).")
        most = held.get(name, -1)
        hard = _least(limit.hard, most)
        soft = _least(limit.soft, hard)
        result.append({"type": f"RLIMIT_{name.upper()}", "hard": _raw(hard), "soft": _raw(soft)})
    return result


def _least(one: int, other: int) -> int:
    if one < 0 or other < 0:
        return max(one, other)
    return min(one, other)


def _raw(value: int) -> int:
    return _UNLIMITED if value < 0 else value
