"""`deploy` of a service: how many tasks, where, with what, replaced how."""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar

from stackd.core.model.container import Resources
from stackd.core.model.stack import (
    MAX_TASKS,
    Constraint,
    Placement,
    RestartCondition,
    RestartPolicy,
)
from stackd.core.spec.fields import (
    Labels,
    Section,
    Size,
    choice,
    decimal,
    matching,
    seconds,
    whole,
)
from stackd.core.spec.strategy import RollbackSection, StrategyItem, UpdateSection

MIN_LIMIT = 6 * 1024 * 1024
MIN_RESERVATION = 4 * 1024 * 1024

_FACT = r"node\.(?:id|hostname|ip|role|platform\.os|platform\.arch|labels\.[A-Za-z0-9._/-]+)"
CONSTRAINT = rf"\s*(?:{_FACT}|engine\.labels\.[A-Za-z0-9._/-]+)\s*(?:==|!=)\s*\S(?:.*\S)?\s*"
SPREAD = r"(?:node|engine)\.labels\.[A-Za-z0-9._/-]+|node\.(?:id|hostname)"
_CONSTRAINT = re.compile(r"\s*(\S+?)\s*(==|!=)\s*(\S(?:.*\S)?)\s*")

Condition = Annotated[str, choice("none", "on-failure", "any")]
Restart = Annotated[
    str, matching(r"no|always|unless-stopped|on-failure(?::[0-9]{1,4})?", "a restart rule")
]
Cpus = Annotated[float, decimal(0.001, 4096)]


class Limits(Section):
    """`resources.limits`."""

    FOREIGN: ClassVar[Mapping[str, str]] = {"devices": "", "generic_resources": ""}

    cpus: Cpus | None = None
    memory: Size | None = None
    pids: Annotated[int, whole(0, 4_194_304)] | None = None


class Reservations(Section):
    """`resources.reservations`."""

    PLANNED: ClassVar[frozenset[str]] = frozenset({"generic_resources", "devices"})

    cpus: Cpus | None = None
    memory: Size | None = None


class ResourcesSection(Section):
    """`resources`."""

    limits: Limits | None = None
    reservations: Reservations | None = None


class RestartSection(Section):
    """`restart_policy`."""

    condition: Condition | None = None
    delay: Annotated[float, seconds(0, 3600, "at most 1h")] | None = None
    max_attempts: Annotated[int, whole(0, 1_000_000)] | None = None
    window: Annotated[float, seconds()] | None = None


class Preference(Section):
    """One item of `placement.preferences`."""

    spread: Annotated[str, matching(SPREAD, "a label of nodes: write node.labels.NAME")]


class PlacementSection(Section):
    """`placement`."""

    constraints: (
        list[Annotated[str, matching(CONSTRAINT, "a constraint: write node.labels.disk == ssd")]]
        | None
    ) = None
    preferences: list[Preference] | None = None
    max_replicas_per_node: Annotated[int, whole(0, MAX_TASKS)] | None = None


class DeploySection(Section):
    """`deploy`."""

    mode: (
        Annotated[str, choice("replicated", "global", planned=("replicated-job", "global-job"))]
        | None
    ) = None
    replicas: Annotated[int, whole(0, MAX_TASKS)] | None = None
    labels: Labels | None = None
    endpoint_mode: Annotated[str, choice("vip", planned=("dnsrr",))] | None = None
    strategy: StrategyItem | None = None
    update_config: UpdateSection | None = None
    rollback_config: RollbackSection | None = None
    restart_policy: RestartSection | None = None
    placement: PlacementSection | None = None
    resources: ResourcesSection | None = None


def restart(section: RestartSection | None, short: str | None) -> RestartPolicy:
    """The restart policy; the service's `restart` counts when there is no restart_policy."""
    base = RestartPolicy()
    if section is None:
        return _short_restart(short or "always")
    return RestartPolicy(
        condition=RestartCondition(section.condition or base.condition),
        delay=base.delay if section.delay is None else section.delay,
        max_attempts=section.max_attempts or 0,
        window=section.window or 0,
    )


def _short_restart(text: str) -> RestartPolicy:
    word, _, attempts = text.partition(":")
    match word:
        case "no":
            return RestartPolicy(condition=RestartCondition.NONE)
        case "on-failure":
            return RestartPolicy(
                condition=RestartCondition.ON_FAILURE, max_attempts=int(attempts or 0)
            )
        case _:
            return RestartPolicy()


def placement(section: PlacementSection | None) -> Placement:
    """The placement with its constraints taken apart."""
    section = section or PlacementSection()
    constraints = []
    for text in section.constraints or ():
        found = _CONSTRAINT.fullmatch(text)
        assert found is not None, "the model has matched it"
        constraints.append(Constraint(key=found[1], value=found[3], equal=found[2] == "=="))
    return Placement(
        constraints=tuple(constraints),
        spread=tuple(item.spread for item in section.preferences or ()),
        max_replicas_per_node=section.max_replicas_per_node or 0,
    )


def resources(section: ResourcesSection | None) -> Resources:
    """Limits and reservations.

    Raises:
        ValueError: too little memory to start anything, or more reserved than allowed.
    """
    section = section or ResourcesSection()
    limits = section.limits or Limits()
    reserved = section.reservations or Reservations()
    found = Resources(
        cpus=limits.cpus or 0,
        memory=limits.memory or 0,
        pids=limits.pids or 0,
        reserve_cpus=reserved.cpus or 0,
        reserve_memory=reserved.memory or 0,
    )
    faults = []
    if 0 < found.memory < MIN_LIMIT:
        faults.append("a memory limit is at least 6m: nothing starts in less")
    if 0 < found.reserve_memory < MIN_RESERVATION:
        faults.append("a memory reservation is at least 4m")
    if 0 < found.memory < found.reserve_memory or 0 < found.cpus < found.reserve_cpus:
        faults.append("more is reserved than the limit allows")
    if faults:
        raise ValueError("; ".join(faults))
    return found
