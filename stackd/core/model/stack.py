"""What a stack file declares, with every default applied: the input of plan and of the loops."""

import enum
from collections.abc import Mapping

import msgspec

from stackd.core.model.container import ContainerSpec
from stackd.core.model.record import Value
from stackd.core.model.strategy import Strategy
from stackd.core.model.toggle import Toggle

MAX_TASKS = 100_000
"""The most tasks of a service, declared or set by hand."""


class AppProtocol(enum.StrEnum):
    """What a published port speaks. Absent in a stack file means tcp; it is never inferred."""

    TCP = "tcp"
    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"


class Port(Value, frozen=True, kw_only=True):
    """A published ingress port: every node answers on `published`. 0 = chosen by the cluster."""

    target: int
    published: int = 0
    protocol: AppProtocol = AppProtocol.TCP


class Route(Value, frozen=True, kw_only=True):
    """Which requests on a shared HTTP port are this service's. Times in seconds; 0 = off."""

    hosts: tuple[str, ...] = ()
    """Empty: every host."""
    path_prefix: str = "/"
    timeout: float = 0
    upstream_idle_timeout: float = 1.0
    retries: int = 2
    retry_on: str = "safe"
    """`safe`: only what was surely not sent; `idempotent`: also GET, HEAD, OPTIONS on reset, 5xx;
    `none`."""
    tls: str = ""
    """The secret, as the stack calls it, with certificate and key: the service's HTTP ports speak
    TLS."""
    redirect_from: int = 80
    """With `tls`: this published port, beside another, sends plain requests there."""


class Mode(enum.StrEnum):
    """replicated: N slots; global: one slot per fitting node."""

    REPLICATED = "replicated"
    GLOBAL = "global"


class RestartCondition(enum.StrEnum):
    """Which ends of a task are followed by a new one."""

    NONE = "none"
    ON_FAILURE = "on-failure"
    ANY = "any"


class RestartPolicy(Value, frozen=True, kw_only=True):
    """Replacement of ended tasks: the first at once, then `delay` doubling to `max_delay`."""

    condition: RestartCondition = RestartCondition.ANY
    delay: float = 5.0
    max_delay: float = 60.0
    max_attempts: int = 0
    """Per slot within `window`; 0 = unlimited."""
    window: float = 0
    """Seconds looked back; 0 = for ever."""


class Constraint(Value, frozen=True, kw_only=True):
    """`key == value` or `key != value` over node facts, e.g. node.labels.disk == ssd."""

    key: str
    value: str
    equal: bool = True


class Placement(Value, frozen=True, kw_only=True):
    """Where tasks may and should run."""

    constraints: tuple[Constraint, ...] = ()
    spread: tuple[str, ...] = ()
    """Preferences in order: node.labels.X whose values share the tasks evenly."""
    max_replicas_per_node: int = 0


class DependsOn(enum.StrEnum):
    """What must hold of a dependency's rollout before the dependent starts."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"


class ServiceSpec(Value, frozen=True, kw_only=True):
    """One declared service. Only `container` makes a revision; the rest changes in place."""

    name: str
    container: ContainerSpec
    mode: Mode = Mode.REPLICATED
    replicas: int = 1
    strategy: Strategy = Strategy()
    rollback: Strategy = Strategy()
    """How a rollback is paced (`rollback_config`); defaults to `strategy`'s pace."""
    restart: RestartPolicy = RestartPolicy()
    placement: Placement = Placement()
    deploy_labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    route: Route | None = None
    depends_on: Mapping[str, DependsOn] = msgspec.field(default_factory=dict)
    features: Mapping[str, Toggle] = msgspec.field(default_factory=dict)
    stages: Mapping[str, Strategy] = msgspec.field(default_factory=dict)
    """How toggles of `features` get to a larger share; one without an entry has it at once. The
    last step sets the declared share. Nodes do not need it."""


class NetworkSpec(Value, frozen=True, kw_only=True):
    """A declared network. `name` is the literal cluster-wide name (`STACK_NET` unless given)."""

    name: str
    external: bool = False
    internal: bool = False
    attachable: bool = False
    subnet: str = ""
    """CIDR; empty = allocated from the cluster's pool."""
    mtu: int = 0
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)


class VolumeSpec(Value, frozen=True, kw_only=True):
    """A declared named volume, local to the node that first uses it."""

    name: str
    external: bool = False
    shared: bool = False
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)


class ContentSpec(Value, frozen=True, kw_only=True):
    """A declared config or secret: `name` is stable in the cluster; content is kept apart.

    Exactly one of `external` or a content, which travels beside the spec (`Bundle.contents`),
    so that no spec, plan or release ever holds a secret's value.
    """

    name: str
    external: bool = False
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)


class StackSpec(Value, frozen=True, kw_only=True):
    """One stack, all defaults applied, interpolated, names resolved."""

    name: str
    services: Mapping[str, ServiceSpec]
    networks: Mapping[str, NetworkSpec] = msgspec.field(default_factory=dict)
    volumes: Mapping[str, VolumeSpec] = msgspec.field(default_factory=dict)
    configs: Mapping[str, ContentSpec] = msgspec.field(default_factory=dict)
    secrets: Mapping[str, ContentSpec] = msgspec.field(default_factory=dict)
