"""The best of the nodes that can take a task."""

from hypothesis import given
from hypothesis import strategies as st

from stackd.core.model.container import Resources
from stackd.core.model.fit import NodeView
from stackd.core.model.ids import NodeId, RevisionId, TaskId
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.states import NodeState, TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.world import TaskView
from stackd.core.schedule.load import Like, Load
from stackd.core.schedule.rank import Idle, Ranking, Shared, failing

WEB = Like("s/w", "b")


def node(name: str, zone: str = "") -> NodeView:
    labels = {"zone": zone} if zone else {}
    return NodeView(
        Node(id=NodeId(name), name=name, labels=labels),
        NodeStatus(id=NodeId(name), state=NodeState.READY),
    )


def order(
    nodes: list[NodeView],
    count: int,
    spread: tuple[str, ...] = (),
    avoid: frozenset[str] = frozenset(),
    loads: dict[str, Load] | None = None,
) -> list[str]:
    known = loads or {}
    ranking = Ranking(WEB, spread, set(avoid), lambda name: known.setdefault(name, Load()))
    for view in nodes:
        ranking.add(view)
    ranking.seal()
    taken = []
    for number in range(count):
        found, _ = ranking.take(lambda view: "")
        assert found is not None
        known[found.node.id].add(WEB, str(number), Resources())
        taken.append(str(found.node.id))
    return taken


def test_tasks_of_a_service_spread_evenly() -> None:
    assert order([node("n1"), node("n2"), node("n3")], 6) == ["n1", "n2", "n3"] * 2


def test_then_the_node_with_the_fewest_tasks_in_all() -> None:
    busy = Load()
    busy.add(Like("other/x", "a"), "1", Resources())
    assert order([node("n1"), node("n2")], 2, loads={"n1": busy}) == ["n2", "n1"]


def test_a_node_on_which_the_revision_fails_comes_last() -> None:
    assert order([node("n1"), node("n2")], 2, avoid=frozenset({"n1"})) == ["n2", "n2"]


def test_preferences_come_before_nodes() -> None:
    nodes = [node("a1", "a"), node("a2", "a"), node("b1", "b")]
    taken = order(nodes, 4, spread=("node.labels.zone",))
    assert sorted(taken) == ["a1", "a2", "b1", "b1"]


def test_a_refused_node_stays_only_when_it_may_do_later() -> None:
    for retry, expected in ((False, None), (True, "n1")):
        ranking = Ranking(WEB, (), set(), lambda name: Load())
        ranking.add(node("n1"))
        ranking.seal()
        found, reasons = ranking.take(lambda view: "full", retry=retry)
        assert (found, reasons) == (None, ["full"])
        again, _ = ranking.take(lambda view: "", retry=retry)
        assert (again.node.id if again else None) == expected


def test_five_failures_in_five_minutes_make_a_node_failing() -> None:
    def failed(number: int, seen: float) -> TaskView:
        task_id = TaskId(f"t{number}")
        return TaskView(
            Task(id=task_id, stack="s", service="w", slot="1", revision=RevisionId("a"), node="n1"),
            TaskDesired(id=task_id),
            TaskStatus(id=task_id, state=TaskState.FAILED, seen=seen),
        )

    views = [failed(number, 1_000) for number in range(5)]
    assert failing(views, "a", 1_200) == {"n1"}
    assert failing(views, "b", 1_200) == set()
    assert failing(views, "a", 1_300) == set()
    assert failing(views[:4], "a", 1_200) == set()


def placed(
    views: list[NodeView],
    loads: dict[str, Load],
    groups: list[tuple[Like, int, frozenset[str]]],
    cap: int,
    *,
    shared: bool,
) -> list[str | None]:
    """Where groups of tasks go, one group after the other; a node takes `cap` tasks in all."""
    idle = Idle(views, loads.__getitem__)
    taken: list[str | None] = []
    for like, count, avoid in groups:
        ranking: Ranking | Shared
        if shared:
            ranking = Shared(like, idle, loads.__getitem__)
            for view in views:
                if loads[view.node.id].of(like.service) or view.node.id in avoid:
                    ranking.add(view, avoid=view.node.id in avoid)
        else:
            ranking = Ranking(like, (), set(avoid), loads.__getitem__)
            for view in views:
                ranking.add(view)
            ranking.seal()
        for number in range(count):
            found, _ = ranking.take(
                lambda view: "full" if loads[view.node.id].tasks >= cap else "",
                retry=number % 2 == 0,
            )
            taken.append(None if found is None else str(found.node.id))
            if found is not None:
                loads[found.node.id].add(like, f"{like}{len(taken)}", Resources())
        ranking.close()
    return taken


@given(
    loads=st.lists(st.integers(0, 6), min_size=1, max_size=8),
    groups=st.lists(
        st.tuples(
            st.builds(Like, st.sampled_from("abc"), st.sampled_from("12")),
            st.integers(1, 12),
            st.frozensets(st.sampled_from("0123")),
        ),
        max_size=8,
    ),
    cap=st.integers(1, 9),
)
def test_shared_heap_places_as_a_heap_of_ones_own(
    loads: list[int], groups: list[tuple[Like, int, frozenset[str]]], cap: int
) -> None:
    views = [node(str(number)) for number in range(len(loads))]

    def known() -> dict[str, Load]:
        made = {str(number): Load() for number in range(len(loads))}
        for number, tasks in enumerate(loads):
            for slot in range(tasks):
                like = Like("abx"[slot % 3], "12"[slot % 2])
                made[str(number)].add(like, str(slot), Resources(), stays=slot % 4 > 0)
        return made

    assert placed(views, known(), groups, cap, shared=True) == placed(
        views, known(), groups, cap, shared=False
    )
