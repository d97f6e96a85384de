"""What a plan would run into: ports, addresses, room."""

from typing import Any

import msgspec
import pytest

from stackd.core.foresight.feasibility import infeasible
from stackd.core.model.container import Resources
from stackd.core.model.ids import NetworkId, RevisionId
from stackd.core.model.network import Network
from stackd.core.model.release import Release
from stackd.core.model.stack import (
    AppProtocol,
    Constraint,
    Mode,
    NetworkSpec,
    Placement,
    Port,
    Route,
    ServiceSpec,
)
from stackd.core.model.strategy import Amount, Pause, Preview, Strategy, StrategyKind
from stackd.core.model.world import World
from stackd.core.plan.make import make_plan
from tests.fakes.stacks import declare, deployed, node, put, service, stack, task

HTTP = AppProtocol.HTTP


def reasons(world: World, *services: ServiceSpec, name: str = "shop", **fields: object) -> str:
    plan = make_plan(world, declare(stack(*services, name=name, **fields)))
    return "; ".join(infeasible(world, plan))


def one_node() -> World:
    return put(World(), *node())


def published(name: str = "web", port: int = 80, **fields: Any) -> ServiceSpec:
    protocol = fields.pop("protocol", AppProtocol.TCP)
    return service(name, ports=(Port(target=80, published=port, protocol=protocol),), **fields)


def test_a_plan_that_fits_has_no_reasons() -> None:
    assert reasons(one_node(), published(replicas=3)) == ""


@pytest.mark.parametrize(
    ("mine", "theirs", "clash"),
    [
        (published(), published(), True),
        (published(protocol=HTTP), published(), True),
        (published(protocol=HTTP), published(protocol=HTTP), True),
        (published(port=0), published(port=0), False),
        (published(port=81), published(), False),
        (
            published(protocol=HTTP, route=Route(hosts=("a",))),
            published(protocol=HTTP, route=Route(hosts=("b",))),
            False,
        ),
        (
            published(protocol=HTTP, route=Route(hosts=("a",), path_prefix="/x")),
            published(protocol=HTTP, route=Route(hosts=("a",))),
            False,
        ),
        (
            published(protocol=HTTP, route=Route(hosts=("a", "b"))),
            published(protocol=HTTP, route=Route(hosts=("b",))),
            True,
        ),
    ],
)
def test_a_port_of_another_stack(mine: ServiceSpec, theirs: ServiceSpec, clash: bool) -> None:
    world = deployed(stack(theirs, name="other"), one_node())
    found = reasons(world, mine)
    assert found == ("port 80 of shop/web is published by other/web" if clash else "")


def test_a_preview_has_a_port_of_its_own() -> None:
    shown = service(strategy=Strategy(preview=Preview(published=80)))
    told = "port 80, the preview of shop/web, is published by other/web"
    for theirs in (published(), published(protocol=HTTP), shown):
        assert reasons(deployed(stack(theirs, name="other"), one_node()), shown) == told
    world = deployed(stack(shown, name="other"), one_node())
    assert reasons(world, published()) == "port 80 of shop/web is published by other/web"
    hosted = service(strategy=Strategy(preview=Preview(host="next.a")))
    assert reasons(world, hosted) == ""


def test_a_port_of_the_same_stack() -> None:
    found = reasons(one_node(), published("a"), published("b"))
    assert found == "port 80 of shop/b is published by shop/a"


def test_a_port_of_the_release_that_is_replaced_is_free() -> None:
    world = deployed(stack(published("old")), one_node())
    assert reasons(world, published("new")) == ""


@pytest.mark.parametrize(
    ("subnet", "replicas", "said"),
    [
        ("10.1.0.0/26", 30, ""),
        ("10.1.0.0/26", 31, "network shop_default needs 32 addresses and has 31 free"),
        ("10.1.0.0/28", 1, "network shop_default needs 2 addresses and has 0 free"),
        ("", 2000, "network shop_default needs 2001 addresses and has 991 free"),
    ],
)
def test_a_network_that_is_new_needs_room_too(subnet: str, replicas: int, said: str) -> None:
    networks = {"default": NetworkSpec(name="shop_default", subnet=subnet)}
    assert reasons(one_node(), service(replicas=replicas), networks=networks) == said


def test_an_external_network_must_exist() -> None:
    external = {"default": NetworkSpec(name="shared", external=True)}
    assert reasons(one_node(), service(), networks=external) == (
        "network shared is external and does not exist"
    )
    network = Network(id=NetworkId("n"), name="shared", vni=1, subnet="10.0.0.0/22")
    assert reasons(put(one_node(), network), service(), networks=external) == ""


def test_addresses_run_out() -> None:
    network = Network(id=NetworkId("n"), name="shop_default", vni=1, subnet="10.0.0.0/22")
    small = put(one_node(), msgspec.structs.replace(network, stack="shop"))
    assert "needs 2001 addresses and has" in reasons(small, service(replicas=2000))
    assert "addresses" not in reasons(small, service(replicas=100))


def test_no_room_says_what_is_missing() -> None:
    big = service(replicas=3, container_resources=Resources(reserve_cpus=2.0))
    found = reasons(one_node(), big)
    assert found.startswith("2 of 3 tasks of shop/web can be placed: ")


@pytest.mark.parametrize(("cpus", "fits"), [(2.0, True), (3.0, False)])
def test_what_is_new_must_fit_together(cpus: float, *, fits: bool) -> None:
    """Each of the two fits on the node of 4 CPUs alone."""
    part = Resources(reserve_cpus=cpus)
    names = ("a", "b")
    found = reasons(one_node(), *(service(name, container_resources=part) for name in names))
    assert (found == "") is fits
    assert fits or found.startswith("0 of 1 tasks of shop/b can be placed: ")
    assert fits or found.endswith("(beside what else the plan adds)")


def test_an_order_in_which_all_fits_is_enough() -> None:
    """The first by name may go anywhere and prefers the node that the second needs."""
    world = put(one_node(), *node(2, labels={"disk": "ssd"}), *task("t1"))
    placed = Placement(constraints=(Constraint(key="node.labels.disk", value="ssd"),))
    big, small = Resources(reserve_cpus=3.0), Resources(reserve_cpus=2.0)
    free = service("a", replicas=1, container_resources=small)
    bound = service("b", placement=placed, container_resources=big)
    assert reasons(world, free, bound) == ""


def test_a_constraint_that_no_node_fulfils() -> None:
    placed = Placement(constraints=(Constraint(key="node.labels.disk", value="ssd"),))
    assert "0 of 1 tasks of shop/web can be placed" in reasons(
        one_node(), service(placement=placed)
    )
    labelled = put(World(), *node(labels={"disk": "ssd"}))
    assert reasons(labelled, service(placement=placed)) == ""


@pytest.mark.parametrize(("surge", "fits"), [(0, True), (1, False)])
def test_the_surge_of_a_rollout_must_fit_beside_what_runs(surge: int, fits: bool) -> None:
    pace = Strategy(max_surge=Amount(value=surge), max_unavailable=Amount(value=1 - surge))
    whole = Resources(reserve_cpus=4.0)
    world = deployed(stack(service(strategy=pace, container_resources=whole)), one_node())
    release = world.release("shop")
    assert isinstance(release, Release)
    put(world, *task("t1", revision=RevisionId(release.services["web"].revision)))
    changed = service(strategy=pace, container_resources=whole, container_user="1")
    assert (reasons(world, changed) == "") is fits


@pytest.mark.parametrize(("cpus", "fits"), [(2.0, True), (3.0, False)])
@pytest.mark.parametrize("kind", [kind for kind in StrategyKind if kind.weighted])
def test_both_revisions_at_full_size_must_fit(
    kind: StrategyKind, cpus: float, *, fits: bool
) -> None:
    pace = Strategy(kind=kind, steps=(Pause(),))
    part = Resources(reserve_cpus=cpus)
    world = deployed(stack(service(strategy=pace, container_resources=part)), one_node())
    release = world.release("shop")
    assert isinstance(release, Release)
    put(world, *task("t1", revision=RevisionId(release.services["web"].revision)))
    changed = service(strategy=pace, container_resources=part, container_user="1")
    found = reasons(world, changed)
    assert (found == "") is fits
    assert fits or "0 of 1 tasks of shop/web can be placed" in found


def test_growth_needs_room_only_for_what_is_added() -> None:
    half = Resources(reserve_cpus=2.0)
    world = deployed(stack(service(container_resources=half)), one_node())
    release = world.release("shop")
    assert isinstance(release, Release)
    put(world, *task("t1", revision=RevisionId(release.services["web"].revision)))
    assert reasons(world, service(replicas=2, container_resources=half)) == ""
    assert "1 of 2 tasks" in reasons(world, service(replicas=3, container_resources=half))


def test_a_global_service_needs_one_place_a_node() -> None:
    assert reasons(one_node(), service(mode=Mode.GLOBAL)) == ""
