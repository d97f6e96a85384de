"""Rollout groups: what services of one must have in common."""

import pytest

from stackd.core.model.stack import ServiceSpec
from stackd.core.model.strategy import Strategy
from tests.unit.core.spec.stacks import errors, service

STEPS = "type: canary, group: g, steps: [{set_weight: 5%}, {pause: 1s}]"


def two(first: str, second: str, more: str = "") -> str:
    return (
        f"services:\n  a: {{image: x, deploy: {{strategy: {{{first}}}}}}}\n"
        f"  b: {{image: x, {more}deploy: {{strategy: {{{second}}}}}}}\n"
    )


def test_a_group_is_a_name_beside_the_steps() -> None:
    found: ServiceSpec = service(f"deploy: {{strategy: {{{STEPS}}}}}")
    assert found.strategy.group == "g"
    assert Strategy().group == ""


def test_the_same_number_of_steps_makes_a_group() -> None:
    other = STEPS.replace("5%", "50%").replace("pause: 1s", "pause: {}")
    assert errors(two(STEPS, other)) == []
    assert errors(two(STEPS, STEPS.replace("group: g", "group: h").replace("5%", "9%"))) == []
    green = "type: blue-green, group: g, auto_promote_after: 5s"
    assert errors(two(green, "type: blue-green, group: g, auto_promote: false")) == []


@pytest.mark.parametrize(
    "other",
    [
        STEPS.replace("{pause: 1s}", "{pause: 1s}, {set_weight: 9%}"),
        "type: blue-green, group: g",
    ],
)
def test_other_steps_do_not(other: str) -> None:
    [found] = errors(two(STEPS, other))
    assert found.startswith("3:")
    assert "group g goes step by step: b has other steps than a" in found


@pytest.mark.parametrize("kind", ["rolling", "recreate", "shadow", "ab, split: 5%"])
def test_only_what_has_steps_can_be_in_one(kind: str) -> None:
    found = errors(two(STEPS, f"type: {kind}, group: g"))
    assert any("only canary and blue-green go from step to step" in one for one in found)


def test_services_of_a_group_do_not_wait_for_each_other() -> None:
    [found] = errors(two(STEPS, STEPS, "depends_on: [a], "))
    assert "b waits until the rollout of a is complete" in found
    far = "depends_on: [c], "
    text = two(STEPS, STEPS, far) + "  c: {image: x, depends_on: [a]}\n"
    assert "b waits until the rollout of a is complete" in errors(text)[0]
