"""What a node is told: whole, and after changes; both ways give the same."""

import msgspec

from stackd.core.model.assignment import ItemKind, TaskItem, VolumeItem
from stackd.core.model.container import ContainerSpec, Grant, Mount, MountKind
from stackd.core.model.ids import NetworkId, NodeId, RevisionId, TaskId
from stackd.core.model.network import Network, VolumeBinding
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.record import Record, Ref
from stackd.core.model.release import Release, Revision, ServiceRelease, Stack
from stackd.core.model.stack import ContentSpec, ServiceSpec, StackSpec, VolumeSpec
from stackd.core.model.states import Leaving, NodeState, TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.traffic import IngressPort, TrafficEntry
from stackd.core.model.world import World
from stackd.core.orchestrate import assignments

CONTAINER = ContainerSpec(
    image="app@sha256:1",
    mounts=(
        Mount(kind=MountKind.VOLUME, target="/data", source="data"),
        Mount(kind=MountKind.BIND, target="/host", source="/srv"),
    ),
    secrets=(Grant(name="key", target="/run/secrets/key", version="v1"),),
)


def world_of(*records: Record) -> World:
    world = World()
    for number, record in enumerate(records, 1):
        world.apply(record, number)
        world.revision = number
    return world


def network(name: str) -> Network:
    return Network(id=NetworkId(name), name=name, vni=1, subnet="10.0.0.0/24", cursor=3)


def base() -> list[Record]:
    spec = ServiceSpec(name="web", container=CONTAINER)
    stack = StackSpec(
        name="shop",
        services={"web": spec},
        volumes={"data": VolumeSpec(name="the_volume")},
        secrets={"key": ContentSpec(name="the_key")},
    )
    services = {"web": ServiceRelease(spec=spec, revision=RevisionId("r1"))}
    return [
        *(Node(id=NodeId(n), name=n, index=i) for i, n in enumerate(("n1", "n2", "n3"), 1)),
        *(
            NodeStatus(id=NodeId(n), state=NodeState.READY, address=f"192.0.2.{i}")
            for i, n in enumerate(("n1", "n2"), 1)
        ),
        network("front"),
        network("back"),
        Revision(stack="shop", service="web", id=RevisionId("r1"), container=CONTAINER),
        Stack(name="shop", owner="cli", release=1),
        Release(stack="shop", number=1, spec=stack, services=services),
    ]


def task(name: str, node: str, net: str, state: TaskState = TaskState.ASSIGNED) -> list[Record]:
    task_id = TaskId(name)
    return [
        Task(
            id=task_id,
            stack="shop",
            service="web",
            slot="1",
            revision=RevisionId("r1"),
            node=node,
            addresses={net: "10.0.0.9"},
        ),
        TaskStatus(id=task_id, state=state),
    ]


def told(world: World, node: str) -> assignments.Items:
    ingress = assignments.ingress_networks(world)
    return assignments.items_for(world, node, assignments.networks_of(world, node, ingress))


def keys(items: assignments.Items, kind: ItemKind) -> set[str]:
    return {ref.key for ref in items if ref.kind is kind}


def test_a_node_learns_only_what_concerns_it() -> None:
    world = world_of(*base(), *task("t1", "n1", "front"), *task("t2", "n2", "back"))
    items = told(world, "n1")
    assert keys(items, ItemKind.TASK) == {"t1"}
    assert keys(items, ItemKind.NETWORK) == {"front"}
    assert keys(items, ItemKind.ATTACHMENT) == {"t1/front"}
    assert keys(items, ItemKind.NODE) == {"n1", "n2"}, "n3 has no address yet"


def test_peers_in_a_shared_network_are_told() -> None:
    world = world_of(*base(), *task("t1", "n1", "front"), *task("t2", "n2", "front"))
    assert keys(told(world, "n1"), ItemKind.ATTACHMENT) == {"t1/front", "t2/front"}


def test_every_node_takes_part_in_ingress_networks() -> None:
    ports = (IngressPort(published=80, target=8080),)
    public = TrafficEntry(stack="shop", service="web", ports=ports, ingress_network="front")
    inner = TrafficEntry(stack="shop", service="db", vips={"back": "10.0.0.2"})
    world = world_of(*base(), *task("t2", "n2", "front"), public, inner)
    items = told(world, "n1")
    assert keys(items, ItemKind.NETWORK) == {"front"}
    assert keys(items, ItemKind.TRAFFIC) == {"shop/web"}
    assert keys(items, ItemKind.ATTACHMENT) == {"t2/front"}


def test_names_of_volumes_and_contents_are_the_clusters() -> None:
    world = world_of(*base(), *task("t1", "n1", "front"))
    (item,) = [i for i in told(world, "n1").values() if i.KIND is ItemKind.TASK]
    assert item.volumes == {"data": "the_volume"}  # type: ignore[union-attr]
    assert item.contents == {"secret/key": "secret/the_key/v1"}  # type: ignore[union-attr]
    assert assignments.granted([item]) == {"secret/the_key/v1"}
    assert assignments.content_parts("secret/the_key/v1") == ("secret", "the_key", "v1")


def test_every_node_that_answers_for_a_service_gets_its_certificate() -> None:
    ports = (IngressPort(published=443, target=8080),)
    public = TrafficEntry(stack="shop", service="web", ports=ports, tls="secret/cert/v2")
    inner = TrafficEntry(stack="shop", service="db", vips={"back": "10.0.0.2"}, tls="secret/x/v1")
    items = told(world_of(*base(), public, inner), "n1")
    assert assignments.granted(items.values()) == {"secret/cert/v2"}


def test_tasks_before_assignment_and_after_their_end_are_not_told() -> None:
    for state in (TaskState.NEW, TaskState.PENDING, TaskState.FAILED, TaskState.ORPHANED):
        world = world_of(*base(), *task("t1", "n1", "front", state))
        assert keys(told(world, "n1"), ItemKind.TASK) == set()
        assert keys(told(world, "n1"), ItemKind.NETWORK) == set()


def test_draining_is_no_business_of_the_node() -> None:
    world = world_of(*base(), *task("t1", "n1", "front"))
    before = told(world, "n1")
    leaving = TaskDesired(id=TaskId("t1"), stop=True, leaving=Leaving.DRAINING, drain_left=7.0)
    world.apply(leaving, 99)
    assert told(world, "n1") == before
    world.apply(TaskDesired(id=TaskId("t1"), state=TaskState.SHUTDOWN), 100)
    assert told(world, "n1") != before


def test_changes_give_the_same_as_everything_again() -> None:
    world = world_of(*base(), *task("t1", "n1", "front"), *task("t2", "n2", "front"))
    entry = TrafficEntry(stack="shop", service="web", vips={"front": "10.0.0.2"})
    steps: list[Record] = [
        *task("t3", "n2", "front"),
        *task("t4", "n1", "front"),
        entry,
        TaskStatus(id=TaskId("t2"), state=TaskState.FAILED),
        TaskDesired(id=TaskId("t1"), state=TaskState.SHUTDOWN),
        NodeStatus(id=NodeId("n3"), state=NodeState.READY, address="192.0.2.3"),
        network("front"),
        network("back"),
    ]
    networks = frozenset({"front"})
    known = told(world, "n1")
    for number, record in enumerate(steps, 100):
        world.apply(record, number)
        refs = [Ref(table=record.TABLE, key=record.key)]
        for ref, item in assignments.changed_items(world, "n1", networks, refs, known).items():
            if item is None:
                known.pop(ref, None)
            else:
                known[ref] = item
        assert known == told(world, "n1"), record
    world.remove("traffic", "shop/web")
    refs = [Ref(table="traffic", key="shop/web")]
    update = assignments.changed_items(world, "n1", networks, refs, known)
    assert list(update.values()) == [None]


def test_difference() -> None:
    world = world_of(*base(), *task("t1", "n1", "front"))
    old = told(world, "n1")
    world.apply(TaskStatus(id=TaskId("t1"), state=TaskState.COMPLETE), 50)
    update = assignments.difference(old, told(world, "n1"))
    assert {ref.key for ref, item in update.items() if item is None} == {"t1", "t1/front", "front"}
    assert not [item for item in update.values() if item is not None]


def test_only_the_node_that_holds_a_volume_is_told_to_remove_it() -> None:
    going = VolumeBinding(name="the_volume", node="n1", removing=7)
    stays = VolumeBinding(name="other", node="n1")
    world = world_of(*base(), going, stays)
    told = {
        node: [i.name for i in items.values() if isinstance(i, VolumeItem)]
        for node in ("n1", "n2")
        if (items := assignments.items_for(world, node, frozenset()))
    }
    assert told == {"n1": ["the_volume"], "n2": []}
    refs = [Ref(table=VolumeBinding.TABLE, key=b.key) for b in (going, stays)]
    known = assignments.items_for(world, "n1", frozenset())
    assert assignments.changed_items(world, "n1", frozenset(), refs, known) == {}
    world.remove(refs[0].table, refs[0].key)
    [(place, item)] = assignments.changed_items(world, "n1", frozenset(), refs, known).items()
    assert (place.kind, place.key, item) == (ItemKind.VOLUME, "the_volume", None)


def test_a_revision_that_no_release_declares_has_the_names_of_the_one_it_came_from() -> None:
    world = world_of(*base())
    known = world.get(Revision, "shop/web/r1")
    assert known is not None
    new = msgspec.structs.replace(known, id=RevisionId("r9"), release=1)
    task = Task(id=TaskId("t9"), stack="shop", service="web", slot="1", revision=new.id, node="n1")
    for record in (
        new,
        task,
        TaskDesired(id=task.id, state=TaskState.RUNNING),
        TaskStatus(id=task.id, state=TaskState.ASSIGNED),
    ):
        world.apply(record, 99)
    told = assignments.items_for(world, "n1", frozenset())
    [item] = [i for i in told.values() if isinstance(i, TaskItem) and i.key == "t9"]
    assert item.volumes == {"data": "the_volume"}
    assert item.contents == {"secret/key": "secret/the_key/v1"}
