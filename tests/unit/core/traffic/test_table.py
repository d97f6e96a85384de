"""Services, tasks and weights -> entries."""

import msgspec
from msgspec.structs import replace

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.model.decision import Dirty
from stackd.core.model.ids import RevisionId
from stackd.core.model.network import ServiceAddresses
from stackd.core.model.node import NodeStatus
from stackd.core.model.record import Put, Ref, ref
from stackd.core.model.release import ContentHead, ContentKind
from stackd.core.model.rollout import Rollout, ServiceState
from stackd.core.model.stack import AppProtocol, Port, Route
from stackd.core.model.states import Leaving, NodeState, TaskState
from stackd.core.model.strategy import Strategy, StrategyKind
from stackd.core.model.task import TaskDesired, TaskStatus
from stackd.core.model.toggle import Toggle, ToggleOverride
from stackd.core.model.traffic import TrafficEntry
from stackd.core.model.variants import UserGoal
from stackd.core.traffic import table
from tests.fakes.traffic import KEY, NET, Town


def ids() -> str:
    return "id"


def test_ready_tasks_are_endpoints_and_weights_follow_their_number() -> None:
    town = Town()
    for name, revision in (("a", "r1"), ("b", "r1"), ("c", "r2")):
        town.task(name, revision)
    town.task("d", ready=False)
    town.turn_table()
    assert town.states == {"a": "ready", "b": "ready", "c": "ready"}
    assert town.entry.weights == {"r1": 6667, "r2": 3333}
    assert town.entry.listening
    assert town.entry.vips == {NET: "10.0.0.200"}
    assert town.entry.ingress_network == NET


def test_requests_are_measured_while_a_rollout_that_is_analysed_goes_on() -> None:
    town = Town()
    town.task("a", "r1")
    rollout = Rollout(id="x", target=RevisionId("r2"))
    state = ServiceState(stack="shop", service="web", rollout=rollout)
    seen = []
    for analysis, ended in ((None, 0), (AnalysisPolicy(), 0), (AnalysisPolicy(), 5.0)):
        town.declare(strategy=Strategy(kind=StrategyKind.CANARY, analysis=analysis))
        town.put(replace(state, rollout=replace(rollout, ended=ended)))
        town.turn_table()
        seen.append(town.entry.measured)
    assert seen == [False, True, False]


def test_users_of_both_variants_are_counted_while_they_are_shared_out() -> None:
    town = Town()
    town.task("a", "r1")
    goal = UserGoal(path="/order")
    going = Rollout(id="x", target=RevisionId("r2"), source=RevisionId("r1"))
    seen = []
    for kind, rollout in (
        (StrategyKind.AB, going),
        (StrategyKind.AB, replace(going, source=None)),
        (StrategyKind.AB, replace(going, ended=5.0)),
        (StrategyKind.CANARY, going),
    ):
        town.declare(strategy=Strategy(kind=kind, goal=goal))
        town.put(ServiceState(stack="shop", service="web", rollout=rollout))
        town.turn_table()
        seen.append((town.entry.counted, town.entry.goal, town.entry.measured, town.entry.logged))
    assert seen == [(True, goal, False, True), *[(False, None, False, False)] * 3]


def test_the_certificate_is_the_current_version_of_its_secret() -> None:
    town = Town()
    town.task("a", "r1")
    town.declare(route=Route(tls="cert"))
    seen = []
    for version in ("", "v1", "v2"):
        head = ContentHead(kind=ContentKind.SECRET, name="shop_cert", version=version)
        if version:
            town.put(head)
        dirty = Dirty(everything=not version, refs=frozenset({ref(ContentHead, head.key)}))
        made = table.decide(town.world, dirty, town.now, ids)
        for commit in made.commits:
            town.put(*(c.record for c in commit.changes if isinstance(c, Put)))
        seen.append(town.entry.tls)
    assert seen == ["", "secret/shop_cert/v1", "secret/shop_cert/v2"]


def test_wanted_weights_are_kept_as_they_are() -> None:
    town = Town()
    town.task("a", "r1")
    town.task("b", "r2")
    town.weights({"r1": 9500, "r2": 500})
    town.turn_table()
    assert town.entry.weights == {"r1": 9500, "r2": 500}


def test_nothing_is_written_when_nothing_changes() -> None:
    town = Town()
    town.task("a")
    assert town.turn_table() == 1
    assert town.turn_table() == 0


def test_a_service_without_a_ready_task_is_known_but_does_not_listen() -> None:
    town = Town()
    town.turn_table()
    assert not town.entry.listening
    assert town.entry.endpoints == ()


def test_a_crashed_or_unready_task_leaves_at_once() -> None:
    town = Town()
    for name in "abc":
        town.task(name)
    town.turn_table()
    town.status("a", state=TaskState.FAILED)
    town.status("b", ready=False)
    town.turn_table()
    assert town.states == {"c": "ready"}


def test_a_task_asked_to_go_stays_until_it_is_taken_on_but_none_comes_in() -> None:
    town = Town()
    town.task("a")
    town.turn_table()
    town.task("late")
    town.stop("a", "late")
    town.turn_table()
    assert town.states == {"a": "ready"}
    assert town.entry.listening


def test_stages_show_in_the_table() -> None:
    town = Town()
    town.task("a")
    town.turn_table()
    for stage, states, listening in (
        (Leaving.WITHDRAWING, {"a": "ready"}, False),
        (Leaving.DRAINING, {"a": "draining"}, False),
        (Leaving.OUT, {}, False),
    ):
        town.put(TaskDesired(id=town.desired("a").id, stop=True, leaving=stage))
        town.turn_table()
        assert (town.states, town.entry.listening) == (states, listening)


def test_a_new_endpoint_lifts_a_withdrawal() -> None:
    town = Town()
    town.task("a")
    town.turn_table()
    town.put(TaskDesired(id=town.desired("a").id, stop=True, leaving=Leaving.WITHDRAWING))
    town.turn_table()
    town.task("b")
    town.turn_table()
    assert town.entry.listening


def test_ports_are_those_declared_now_and_those_chosen() -> None:
    town = Town()
    open_ = (Port(target=90), Port(target=91, published=9100, protocol=AppProtocol.GRPC))
    town.declare(ports=open_)
    town.turn_table()
    assert [p.published for p in town.entry.ports] == [9100]
    town.put(ServiceAddresses(stack="shop", service="web", ports={"90/tcp": 30001}))
    town.turn_table()
    assert [(p.published, p.target) for p in town.entry.ports] == [(9100, 91), (30001, 90)]


def test_a_service_no_longer_declared_keeps_its_entry_while_a_task_lives() -> None:
    town = Town()
    town.task("a")
    town.turn_table()
    before = town.entry
    town.declare(gone=True)
    town.turn_table()
    assert town.entry == before
    town.status("a", state=TaskState.SHUTDOWN)
    town.turn_table()
    assert town.world.get(TrafficEntry, KEY) is None


def test_a_write_relies_on_the_wishes_for_what_it_adds() -> None:
    town = Town()
    town.task("a")
    town.turn_table()
    town.task("b")
    commits = table.decide(town.world, Dirty(), 0, ids).commits
    assert [c.relies for c in commits] == [(ref(TaskDesired, "b"),)]


def test_only_the_services_concerned_are_looked_at() -> None:
    town = Town()
    town.task("a")
    town.turn_table()

    def concerned(*refs: Ref) -> list[str]:
        return table.concerned(town.world, Dirty(everything=False, refs=frozenset(refs)))

    assert concerned(ref(TaskStatus, "a")) == [KEY]
    assert concerned(ref(TaskStatus, "unknown")) == []
    assert concerned(Ref(table="stacks", key="shop")) == [KEY]
    assert concerned(Ref(table="stacks", key="other")) == []


def down(town: Town, *numbers: int) -> None:
    for number in numbers:
        town.put(NodeStatus(id=town.nodes[number], state=NodeState.DOWN))


def test_traffic_leaves_a_node_that_is_down_and_comes_back_with_it() -> None:
    town = Town(nodes=2)
    for name in "abc":  # b is on the second node
        town.task(name)
    town.turn_table()
    down(town, 1)
    town.turn_table()
    assert town.states == {"a": "ready", "c": "ready"}
    town.put(NodeStatus(id=town.nodes[1], state=NodeState.READY))
    town.turn_table()
    assert town.states == {"a": "ready", "b": "ready", "c": "ready"}


def test_a_service_that_is_lost_as_a_whole_listens_no_more() -> None:
    town = Town(nodes=2)
    town.task("a")
    town.turn_table()
    down(town, 0)
    town.turn_table()
    assert town.states == {}
    assert not town.entry.listening


def test_traffic_stays_as_it_is_when_no_node_is_heard() -> None:
    town = Town(nodes=2)
    for name in "ab":
        town.task(name)
    town.turn_table()
    down(town, 0, 1)
    assert town.turn_table() == 0
    town.put(NodeStatus(id=town.nodes[0], state=NodeState.READY))
    town.turn_table()
    assert town.states == {"a": "ready"}


def test_a_node_concerns_the_services_it_has_and_those_of_other_lost_ones() -> None:
    town = Town(nodes=2)
    town.task("a")
    change = frozenset({Ref(table=NodeStatus.TABLE, key="n0")})
    assert table.concerned(town.world, Dirty(everything=False, refs=change)) == [KEY]
    other = frozenset({Ref(table=NodeStatus.TABLE, key="n1")})
    assert table.concerned(town.world, Dirty(everything=False, refs=other)) == []
    down(town, 0)
    assert table.concerned(town.world, Dirty(everything=False, refs=other)) == [KEY]


def test_toggles_as_they_act_now() -> None:
    town = Town()
    town.declare(features={"cart": Toggle(share=1_000), "dark": Toggle()})
    override = ToggleOverride(
        stack="shop", service="web", feature="cart", share=7_000, declared=1_000, by="ann", at=0
    )
    other = msgspec.structs.replace(override, feature="dark", declared=5)
    town.put(override, other)
    town.turn_table()
    assert {n: f.share for n, f in town.entry.features.items()} == {"cart": 7_000, "dark": 0}
    changed = Dirty(everything=False, refs=frozenset({ref(ToggleOverride, override.key)}))
    assert table.concerned(town.world, changed) == [KEY]
