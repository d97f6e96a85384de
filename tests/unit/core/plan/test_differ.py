"""The text of `stackd diff`."""

from stackd.core.model.container import Grant
from stackd.core.model.stack import ContentSpec
from stackd.core.model.world import World
from stackd.core.plan.differ import diff
from stackd.core.plan.make import make_plan
from tests.fakes.stacks import declare, deployed, service, stack


def text(world: World, *services: object, letter: str = "a", **fields: object) -> str:
    spec = stack(*services, **fields)  # type: ignore[arg-type]
    return diff(world, make_plan(world, declare(spec, letter)))


def test_the_same_is_empty() -> None:
    assert text(deployed(stack(service())), service()) == ""


def test_a_new_stack_is_all_additions() -> None:
    lines = text(World(), service()).splitlines()
    assert lines[:2] == ["--- release 0", "+++ wanted"]
    assert all(line.startswith(("+", "@@")) for line in lines[3:] if line != "-{}")


def test_one_line_for_one_field() -> None:
    lines = text(deployed(stack(service(replicas=2))), service(replicas=3)).splitlines()
    changed = [line for line in lines[2:] if line[0] in "+-"]
    assert [line.split(": ")[-1] for line in changed] == ["2", "3"]


def test_images_show_name_and_digest() -> None:
    world = deployed(stack(service(image="web:1")))
    found = text(world, service(image="web:2"), letter="b")
    assert "-      image: web:1 (sha256:aaaaaaaaaaaa)" in found
    assert "+      image: web:2 (sha256:bbbbbbbbbbbb)" in found


def test_contents_are_only_version_ids() -> None:
    grant = Grant(name="key", target="/run/secrets/key")
    spec = stack(service(container_secrets=(grant,)), secrets={"key": ContentSpec(name="shop_key")})
    world = deployed(spec, versions={"secret/key": "v1"})
    found = diff(world, make_plan(world, declare(spec, versions={"secret/key": "v2"})))
    assert "version: v1" in found
    assert "version: v2" in found


def test_a_service_that_goes_is_all_removals() -> None:
    found = text(deployed(stack(service(), service("old"))), service())
    assert "-  old:" in found
    assert "\n+" not in found.split("+++ wanted")[1]
