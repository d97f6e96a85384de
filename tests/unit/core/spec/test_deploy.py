import pytest

from stackd.core.model.container import Resources
from stackd.core.model.stack import (
    Constraint,
    Mode,
    Placement,
    RestartCondition,
    RestartPolicy,
)
from tests.unit.core.spec.stacks import faults, service

MIB = 2**20


def test_modes_and_replicas() -> None:
    assert service("init: true").replicas == 1
    assert service("deploy: {replicas: 0}").replicas == 0
    assert service("deploy: {mode: global, labels: [a=b]}").mode is Mode.GLOBAL
    assert service("deploy: {labels: {a: 1}, endpoint_mode: vip}").deploy_labels == {"a": "1"}


def test_placement() -> None:
    text = """deploy:
  placement:
    constraints: [node.labels.disk==ssd, "node.hostname != a b "]
    preferences: [{spread: node.labels.zone}]
    max_replicas_per_node: 2"""
    assert service(text).placement == Placement(
        constraints=(
            Constraint(key="node.labels.disk", value="ssd"),
            Constraint(key="node.hostname", value="a b", equal=False),
        ),
        spread=("node.labels.zone",),
        max_replicas_per_node=2,
    )


def test_resources() -> None:
    text = "{limits: {cpus: '1.5', memory: 64m, pids: 9}, reservations: {cpus: 1, memory: 8m}}"
    assert service(f"deploy: {{resources: {text}}}").container.resources == Resources(
        cpus=1.5, memory=64 * MIB, pids=9, reserve_cpus=1.0, reserve_memory=8 * MIB
    )


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("init: true", RestartPolicy()),
        ("restart: 'no'", RestartPolicy(condition=RestartCondition.NONE)),
        ("restart: no", RestartPolicy(condition=RestartCondition.NONE)),
        ("restart: always", RestartPolicy()),
        ("restart: unless-stopped", RestartPolicy()),
        (
            "restart: on-failure:3",
            RestartPolicy(condition=RestartCondition.ON_FAILURE, max_attempts=3),
        ),
        ("restart: 'no'\ndeploy: {restart_policy: {}}", RestartPolicy()),
        (
            "deploy: {restart_policy: {condition: none, delay: 0s, max_attempts: 2, window: 1m}}",
            RestartPolicy(condition=RestartCondition.NONE, delay=0.0, max_attempts=2, window=60.0),
        ),
    ],
)
def test_restart(keys: str, expected: RestartPolicy) -> None:
    assert service(keys).restart == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{mode: replicated-job}", "'replicated-job' is not supported yet"),
        ("{mode: global, replicas: 2}", "a global service has one task on each node"),
        ("{mode: global, placement: {max_replicas_per_node: 1}}", "a global service has one"),
        ("{replicas: two}", "4:24 'two' is not whole"),
        ("{replicas: 100001}", "out of range"),
        ("{replicas: " + "9" * 5000 + "}", "too long for a number"),
        ("{endpoint_mode: dnsrr}", "'dnsrr' is not supported yet"),
        ("{placement: {constraints: [node.labels.a = b]}}", "is not a constraint"),
        ("{placement: {constraints: [node.colour == b]}}", "is not a constraint"),
        ("{placement: {preferences: [{spread: zone}]}}", "is not a label of nodes"),
        ("{resources: {limits: {memory: 5m}}}", "a memory limit is at least 6m"),
        ("{resources: {reservations: {memory: 3m}}}", "a memory reservation is at least 4m"),
        (
            "{resources: {limits: {memory: 5m}, reservations: {memory: 3m}}}",
            "nothing starts in less; a memory reservation is at least 4m",
        ),
        ("{resources: {limits: {pids: -1}}}", "-1 is out of range: 0 to 4194304"),
        (
            "{resources: {limits: {memory: 8m}, reservations: {memory: 9m}}}",
            "more is reserved than the limit allows",
        ),
        ("{resources: {limits: {cpus: 1e400}}}", "is not a number"),
        ("{resources: {reservations: {generic_resources: []}}}", "not supported yet"),
        ("{restart_policy: {condition: never}}", "'never' is unknown"),
        ("{replica: 2}", "unknown key replica: did you mean replicas?"),
    ],
)
def test_faults(text: str, message: str) -> None:
    assert message in faults(f"deploy: {text}")


def test_restart_faults() -> None:
    assert "is not a restart rule" in faults("restart: never")
