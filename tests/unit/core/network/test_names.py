import pytest

from stackd.core.model.assignment import AttachmentItem
from stackd.core.model.ids import NetworkId, RevisionId, TaskId
from stackd.core.model.network import Network
from stackd.core.model.traffic import Endpoint, EndpointState, TrafficEntry
from stackd.core.network import names
from stackd.core.network.names import Asker, NameTable, Outcome, Resolution

OWN = Asker(stack="shop", networks=("front", "shared"), gateway="10.1.0.1", outside=True)
UNKNOWN, ELSEWHERE = Resolution(Outcome.UNKNOWN), Resolution(Outcome.ELSEWHERE)


def found(*addresses: str) -> Resolution:
    return Resolution(Outcome.FOUND, addresses)


def endpoint(address: str, network: str = "front", *, draining: bool = False) -> Endpoint:
    return Endpoint(
        task=TaskId(f"t{address}"),
        revision=RevisionId("r"),
        node="n",
        state=EndpointState.DRAINING if draining else EndpointState.READY,
        addresses={network: address},
    )


WEB = TrafficEntry(
    stack="shop",
    service="Web",
    vips={"front": "10.1.0.9"},
    aliases={"front": ("www",)},
    endpoints=(
        endpoint("10.1.0.50"),
        endpoint("10.1.0.8"),
        endpoint("10.1.0.7", draining=True),
    ),
)


def table(*entries: TrafficEntry) -> NameTable:
    made = NameTable()
    made.replace(entries)
    return made


@pytest.mark.parametrize("name", ["web", "WEB.", "web.shop", "shop_web", "www", "Web.Shop."])
def test_every_name_of_a_service_is_its_virtual_address(name: str) -> None:
    assert table(WEB).resolve(OWN, name) == found("10.1.0.9")


@pytest.mark.parametrize("name", ["tasks.web", "tasks.web.shop", "tasks.shop_web"])
def test_tasks_are_the_ready_ones_in_order(name: str) -> None:
    assert table(WEB).resolve(OWN, name) == found("10.1.0.8", "10.1.0.50")


def test_a_service_without_ready_tasks_keeps_its_names() -> None:
    idle = TrafficEntry(stack="shop", service="web", vips={"front": "10.1.0.9"})
    assert table(idle).resolve(OWN, "web") == found("10.1.0.9")
    assert table(idle).resolve(OWN, "tasks.web") == found()


def test_a_service_without_virtual_address_is_its_tasks() -> None:
    plain = TrafficEntry(stack="shop", service="db", endpoints=(endpoint("10.1.0.4"),))
    assert table(plain).resolve(OWN, "db") == found("10.1.0.4")


def test_a_name_is_known_only_on_the_services_networks() -> None:
    outsider = Asker(stack="shop", networks=("back",), gateway="10.2.0.1", outside=True)
    assert table(WEB).resolve(outsider, "web") == UNKNOWN
    assert table(WEB).resolve(outsider, "web.shop") == ELSEWHERE


def shared(stack: str, vip: str) -> TrafficEntry:
    return TrafficEntry(stack=stack, service="web", vips={"shared": vip})


def test_on_shared_networks_the_own_stack_wins() -> None:
    both = table(shared("blog", "10.3.0.8"), shared("shop", "10.3.0.9"))
    assert both.resolve(OWN, "web") == found("10.3.0.9")
    assert both.resolve(OWN, "web.blog") == found("10.3.0.8")
    stranger = Asker(stack="third", networks=("shared",), gateway="10.3.0.1", outside=True)
    assert both.resolve(stranger, "web") == found("10.3.0.8", "10.3.0.9")


def test_the_own_stack_wins_over_a_network_that_comes_earlier() -> None:
    foreign = TrafficEntry(stack="blog", service="web", vips={"front": "10.1.0.77"})
    assert table(foreign, shared("shop", "10.3.0.9")).resolve(OWN, "web") == found("10.3.0.9")


def test_an_alias_shared_by_services_is_all_of_them() -> None:
    entries = [
        TrafficEntry(stack="shop", service=name, vips={"front": vip}, aliases={"front": ("any",)})
        for name, vip in (("a", "10.1.0.20"), ("b", "10.1.0.3"))
    ]
    assert table(*entries).resolve(OWN, "any") == found("10.1.0.3", "10.1.0.20")


def test_single_names_that_are_unknown_are_not_asked_elsewhere() -> None:
    assert table().resolve(OWN, "nosuch") == UNKNOWN
    assert table().resolve(OWN, "nosuch.example.com") == ELSEWHERE


def test_internal_networks_ask_nobody_else() -> None:
    inner = Asker(stack="shop", networks=("front",), gateway="10.1.0.1", outside=False)
    assert table(WEB).resolve(inner, "data.example.com") == UNKNOWN
    assert table(WEB).resolve(inner, "web") == found("10.1.0.9")


def test_the_node_itself_has_a_name() -> None:
    assert table().resolve(OWN, "stackd.internal") == found("10.1.0.1")


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("9.0.1.10.in-addr.arpa", UNKNOWN),
        ("8.8.8.8.in-addr.arpa", ELSEWHERE),
        ("x.in-addr.arpa", ELSEWHERE),
    ],
)
def test_names_of_private_addresses_are_not_asked_elsewhere(name: str, outcome: Resolution) -> None:
    assert table().resolve(OWN, name) == outcome


def test_replaced_and_removed_services_leave_no_names() -> None:
    made = table(WEB, shared("blog", "10.3.0.8"))
    moved = TrafficEntry(stack="shop", service="Web", vips={"front": "10.1.0.10"})
    made.replace([moved])
    assert made.resolve(OWN, "web") == found("10.1.0.10")
    assert made.resolve(OWN, "www") == UNKNOWN
    assert made.resolve(OWN, "blog_web") == UNKNOWN
    made.replace([])
    assert made.resolve(OWN, "web") == UNKNOWN


def attachment(task: str, network: str, address: str, node: str = "n1") -> AttachmentItem:
    return AttachmentItem(
        task=task,
        network=network,
        address=address,
        node=node,
        stack="shop",
        service="web",
        slot="1",
    )


def test_askers_are_this_nodes_tasks_by_each_address() -> None:
    front = Network(id=NetworkId("front"), name="f", vni=1, subnet="10.1.0.0/24")
    inner = Network(id=NetworkId("inner"), name="i", vni=2, subnet="10.2.0.0/24", internal=True)
    askers = names.askers(
        [inner, front],
        [
            attachment("a", "inner", "10.2.0.40"),
            attachment("a", "front", "10.1.0.40"),
            attachment("b", "inner", "10.2.0.41"),
            attachment("c", "front", "10.1.0.42", node="n2"),
            attachment("d", "gone", "10.9.0.42"),
        ],
        "n1",
        3,
    )
    two = Asker("shop", ("front", "inner"), "10.1.0.3", outside=True, service="web")
    assert askers == {
        "10.2.0.40": two,
        "10.1.0.40": two,
        "10.2.0.41": Asker("shop", ("inner",), "10.2.0.3", outside=False, service="web"),
    }
