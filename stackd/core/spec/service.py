"""One service of a stack file: the model of its keys."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

from stackd.core.spec.contents import GrantItem
from stackd.core.spec.deploy import DeploySection, Restart
from stackd.core.spec.environment import EnvFiles, Environment
from stackd.core.spec.features import Features
from stackd.core.spec.fields import (
    NAMED,
    Absolute,
    Duration,
    Flag,
    Ignored,
    Labels,
    Name,
    Section,
    Text,
    choice,
    matching,
    one_or_many,
)
from stackd.core.spec.healthcheck import HealthCheckSection
from stackd.core.spec.networks import Attachments
from stackd.core.spec.ports import PortItem
from stackd.core.spec.process import CapAdd, CapDrop, Command, StopSignal, Ulimits
from stackd.core.spec.routes import RouteSection
from stackd.core.spec.volumes import MountItem

_REGISTRY = r"(?:[a-zA-Z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
IMAGE = (
    rf"(?:{_REGISTRY}/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
HOSTNAME = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,61}[A-Za-z0-9])?"
USER = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?"


class Dependency(Section):
    """One of `depends_on`."""

    PLANNED: ClassVar[frozenset[str]] = frozenset({"restart", "required"})

    condition: (
        Annotated[
            str,
            choice(
                "service_started",
                "service_healthy",
                planned=("service_completed_successfully",),
            ),
        ]
        | None
    ) = None


def _dependencies(data: Any) -> Any:
    """A list of names as a mapping; everything else unchanged."""
    if isinstance(data, list) and all(isinstance(item, str) for item in data):
        return {name: {"condition": "service_started"} for name in data}
    return data


_DependencyMap = Annotated[dict[Name, Dependency], NAMED]
Dependencies = Annotated[
    _DependencyMap,
    BeforeValidator(_dependencies, json_schema_input_type=_DependencyMap | list[Name]),
]

_PLANNED = frozenset(
    {
        "cgroup_parent", "cpuset", "device_cgroup_rules", "devices", "dns", "dns_opt",
        "dns_search", "extra_hosts", "group_add", "oom_score_adj", "pid",
        "post_start", "pre_stop", "privileged", "security_opt", "shm_size", "stdin_open",
        "sysctls", "tty", "userns_mode",
    }
)  # fmt: skip
_FOREIGN = {
    "annotations": "use labels",
    "attach": "",
    "blkio_config": "",
    "cgroup": "",
    "cgroupns_mode": "",
    "cpu_count": "use deploy.resources",
    "cpu_percent": "use deploy.resources",
    "cpu_period": "use deploy.resources",
    "cpu_quota": "use deploy.resources.limits.cpus",
    "cpu_rt_period": "",
    "cpu_rt_runtime": "",
    "cpu_shares": "use deploy.resources.reservations.cpus",
    "cpus": "use deploy.resources.limits.cpus",
    "credential_spec": "",
    "develop": "",
    "domainname": "use hostname",
    "expose": "services of a network reach every port of each other",
    "extends": "use an anchor",
    "external_links": "share a network",
    "gpus": "",
    "ipc": "",
    "isolation": "",
    "label_file": "use labels",
    "links": "services of a network find each other by name",
    "logging": "stackd keeps the logs: see `stackd logs`",
    "mac_address": "",
    "mem_limit": "use deploy.resources.limits.memory",
    "mem_reservation": "use deploy.resources.reservations.memory",
    "mem_swappiness": "",
    "memswap_limit": "",
    "models": "",
    "net": "use networks",
    "network_mode": "use networks",
    "oom_kill_disable": "",
    "pids_limit": "use deploy.resources.limits.pids",
    "platform": "use deploy.placement.constraints with node.platform.arch",
    "profiles": "",
    "provider": "",
    "pull_policy": "a tag is resolved once: `apply --pull` resolves it again",
    "runtime": "",
    "scale": "use deploy.replicas",
    "storage_opt": "",
    "use_api_socket": "",
    "uts": "",
    "volume_driver": "",
    "volumes_from": "name a volume that both services mount",
}


class ServiceSection(Section):
    """One service."""

    PLANNED: ClassVar[frozenset[str]] = _PLANNED
    FOREIGN: ClassVar[Mapping[str, str]] = _FOREIGN
    NOTED: ClassVar[Mapping[str, str]] = {
        "build": "the cluster does not build images",
        "container_name": "containers are named by cluster and task",
    }

    image: Annotated[str, matching(IMAGE, "an image: write it like registry.example/name:tag")]
    command: Command | None = None
    entrypoint: Command | None = None
    init: Flag | None = None
    environment: Environment | None = None
    env_file: EnvFiles | None = None
    working_dir: Absolute | None = None
    user: Annotated[str, matching(USER, "a user: write USER or USER:GROUP")] | None = None
    hostname: Annotated[str, matching(HOSTNAME, "a host name")] | None = None
    labels: Labels | None = None
    read_only: Flag | None = None
    tmpfs: (
        Annotated[
            list[Text], BeforeValidator(one_or_many, json_schema_input_type=Text | list[Text])
        ]
        | None
    ) = None
    ports: list[PortItem] | None = None
    route: RouteSection | None = None
    networks: Attachments | None = None
    volumes: list[MountItem] | None = None
    configs: list[GrantItem] | None = None
    secrets: list[GrantItem] | None = None
    healthcheck: HealthCheckSection | None = None
    depends_on: Dependencies | None = None
    stop_signal: StopSignal | None = None
    stop_grace_period: Duration | None = None
    restart: Restart | None = None
    cap_add: list[CapAdd] | None = None
    cap_drop: list[CapDrop] | None = None
    ulimits: Ulimits | None = None
    features: Features | None = None
    deploy: DeploySection | None = None
    build: Ignored = None
    container_name: Ignored = None
