"""The stages of leaving."""

import msgspec
import pytest

from stackd.core.model.event import Event
from stackd.core.model.ids import NodeId
from stackd.core.model.node import NodeReport, NodeStatus
from stackd.core.model.states import Leaving, NodeState, TaskState
from tests.fakes.traffic import Town


def town(*names: str, nodes: int = 2, drain_timeout: float = 30.0) -> Town:
    """A town whose tasks are in the table everywhere."""
    made = Town(nodes=nodes, drain_timeout=drain_timeout)
    for name in names:
        made.task(name)
    made.settle()
    made.report_all()
    return made


def test_a_task_drains_when_every_node_says_so_at_each_stage() -> None:
    t = town("a", "b")
    t.stop("a")
    t.settle()
    assert (t.leaving("a"), t.states) == (Leaving.DRAINING, {"a": "draining", "b": "ready"})
    t.report("n0")
    t.settle()
    assert t.leaving("a") is Leaving.DRAINING
    t.report("n1")
    t.settle()
    assert (t.leaving("a"), t.states) == (Leaving.OUT, {"b": "ready"})
    t.report_all()
    t.settle()
    assert (t.leaving("a"), t.desired("a").state) == (Leaving.DONE, TaskState.SHUTDOWN)
    assert t.desired("b").state is TaskState.RUNNING


def test_what_is_under_way_is_waited_for_on_every_node() -> None:
    t = town("a", "b")
    t.stop("a")
    t.settle()
    t.report("n0")
    t.report("n1", {"a": 3})
    t.settle()
    assert t.leaving("a") is Leaving.DRAINING
    t.report("n1", {"a": 0})
    t.settle()
    assert t.leaving("a") is Leaving.OUT


def test_counts_taken_before_the_table_was_applied_do_not_count() -> None:
    t = town("a", "b", nodes=1)
    t.stop("a")
    t.settle()
    t.report("n0")
    report = next(t.world.all(NodeReport))
    t.world.apply(msgspec.structs.replace(report, counted=1), 0)
    t.settle()
    assert t.leaving("a") is Leaving.DRAINING


def test_the_last_endpoint_withdraws_first() -> None:
    t = town("a", "b")
    t.stop("a", "b")
    t.settle()
    assert {t.leaving("a"), t.leaving("b")} == {Leaving.WITHDRAWING}
    assert t.states == {"a": "ready", "b": "ready"}
    assert not t.entry.listening
    t.report_all()
    t.settle()
    assert {t.leaving("a"), t.leaving("b")} == {Leaving.DRAINING}
    t.report_all()
    t.settle()
    t.report_all()
    t.settle()
    assert {t.leaving("a"), t.leaving("b")} == {Leaving.DONE}


def test_a_new_endpoint_ends_a_withdrawal() -> None:
    t = town("a")
    t.stop("a")
    t.settle()
    t.report("n0", {"a": 1})
    t.report("n1")
    t.settle()
    assert t.leaving("a") is Leaving.WITHDRAWING
    t.task("b")
    t.settle()
    assert t.leaving("a") is Leaving.DRAINING
    assert t.entry.listening
    assert t.states == {"a": "draining", "b": "ready"}


def test_an_endpoint_without_weight_cannot_take_over() -> None:
    t = town("a")
    t.task("b", "r2")
    t.weights({"r1": 10000, "r2": 0})
    t.settle()
    t.stop("a")
    t.settle()
    assert t.leaving("a") is Leaving.WITHDRAWING


@pytest.mark.parametrize("state", [TaskState.PREPARING, TaskState.FAILED])
def test_a_task_without_traffic_goes_at_once(state: TaskState) -> None:
    t = town("a")
    t.task("b", ready=False)
    t.status("b", ready=False, state=state)
    t.stop("b")
    t.turn_drains()
    assert (t.leaving("b"), t.desired("b").state) == (Leaving.DONE, TaskState.SHUTDOWN)


def test_a_task_that_ends_while_it_leaves_is_done() -> None:
    t = town("a", "b")
    t.stop("a")
    t.settle()
    t.status("a", state=TaskState.COMPLETE)
    t.turn_drains()
    assert t.leaving("a") is Leaving.DONE


def test_a_node_that_goes_down_is_not_waited_for() -> None:
    t = town("a", "b")
    t.stop("a")
    t.settle()
    t.report("n0")
    t.put(NodeStatus(id=t.nodes[1], state=NodeState.DOWN))
    t.settle()
    assert t.leaving("a") is Leaving.OUT


def test_a_node_that_comes_back_with_an_old_table_is_waited_for() -> None:
    t = town("a", "b", "c")  # b on n1
    t.put(NodeStatus(id=t.nodes[1], state=NodeState.DOWN))
    t.world.remove(NodeReport.TABLE, "n1")
    t.stop("a")
    t.settle()
    t.put(NodeStatus(id=t.nodes[1], state=NodeState.READY, epoch=2))
    t.settle()
    t.report("n0")
    t.settle()
    assert t.leaving("a") is Leaving.DRAINING
    t.world.apply(NodeReport(id=t.nodes[1], applied=3, counted=3), 0)
    t.settle()
    assert t.leaving("a") is Leaving.DRAINING
    t.report("n1")
    t.settle()
    assert t.leaving("a") is Leaving.OUT


def test_a_node_that_joins_is_waited_for() -> None:
    t = town("a", "b", nodes=1)
    t.stop("a")
    t.settle()
    t.put(NodeStatus(id=NodeId("n7"), state=NodeState.READY, epoch=1))
    t.report_all()
    t.settle()
    assert t.leaving("a") is Leaving.DRAINING
    t.report("n7")
    t.settle()
    assert t.leaving("a") is Leaving.OUT


def test_what_drains_on_a_node_that_goes_down_is_done() -> None:
    t = town("a", "b")  # a on n0, b on n1
    t.stop("b")
    t.settle()
    assert t.states == {"a": "ready", "b": "draining"}
    t.put(NodeStatus(id=t.nodes[1], state=NodeState.DOWN))
    t.settle()
    assert t.states == {"a": "ready"}
    t.report("n0", {"b": 4})
    t.settle()
    t.report("n0")
    t.settle()
    assert t.leaving("b") is Leaving.DONE


def test_an_endpoint_on_a_lost_node_cannot_take_over() -> None:
    t = town("a", "b")
    t.put(NodeStatus(id=t.nodes[1], state=NodeState.DOWN))
    t.stop("a")
    t.turn_drains()
    assert t.leaving("a") is Leaving.WITHDRAWING


def test_nothing_leaves_while_no_node_is_heard() -> None:
    """There is nobody who could say that the traffic has gone elsewhere."""
    t = town("a", "b")
    for node in t.nodes:
        t.put(NodeStatus(id=node, state=NodeState.DOWN))
    t.stop("a")
    for _ in range(200):
        t.now += 1
        t.settle()
    assert t.leaving("a") is Leaving.NO
    assert t.states == {"a": "ready", "b": "ready"}


def test_a_node_not_heard_since_a_new_leader_began_is_waited_for() -> None:
    t = town("a", "b")
    t.stop("a")
    t.settle()
    t.report("n0")
    t.put(NodeStatus(id=t.nodes[1], state=NodeState.UNKNOWN, epoch=3))
    t.settle()
    assert t.leaving("a") is Leaving.DRAINING


def pass_time(t: Town, seconds: float, in_flight: dict[str, int]) -> None:
    """Second by second, with reports and both loops."""
    for _ in range(int(seconds)):
        t.now += 1
        for node in t.nodes:
            t.report(node, in_flight)
        t.settle()


def test_drain_timeout_caps_the_wait_and_what_is_cut_is_told() -> None:
    t = town("a", "b", drain_timeout=12)
    t.stop("a")
    t.settle()
    pass_time(t, 11, {"a": 2})
    assert t.leaving("a") is Leaving.DRAINING
    pass_time(t, 2, {"a": 2})
    assert t.leaving("a") is Leaving.DONE
    events = list(t.world.all(Event))
    assert [(e.kind, e.object) for e in events] == [("task.cut", "a")]


def test_withdrawing_and_draining_share_one_timeout() -> None:
    t = town("a", drain_timeout=10)
    t.stop("a")
    t.settle()
    pass_time(t, 8, {"a": 1})
    assert t.leaving("a") is Leaving.WITHDRAWING
    pass_time(t, 4, {"a": 1})
    assert t.leaving("a") is Leaving.DONE


def test_the_time_left_is_stored_and_a_pause_of_leaders_costs_5_seconds_at_most() -> None:
    t = town("a", "b", drain_timeout=30)
    t.stop("a")
    t.settle()
    pass_time(t, 6, {"a": 1})
    assert t.desired("a").drain_left == 25
    t.now += 1000
    t.settle()
    assert t.leaving("a") is Leaving.DRAINING
    assert t.desired("a").drain_left == 20


def test_a_clock_that_went_back_stops_no_drain() -> None:
    t = town("a", "b", drain_timeout=10)
    t.stop("a")
    t.settle()
    t.now -= 500
    t.settle()
    pass_time(t, 11, {"a": 1})
    assert t.leaving("a") is Leaving.DONE


def test_a_node_that_is_heard_but_never_applies_is_given_up() -> None:
    t = town("a", "b", drain_timeout=5)
    t.stop("a")
    t.settle()
    for _ in range(60):
        t.now += 1
        t.settle()
    assert t.leaving("a") is Leaving.DONE


def test_it_says_when_time_alone_matters_next() -> None:
    t = town("a", "b", drain_timeout=3)
    t.stop("a")
    t.settle()
    assert t.wake_at == t.now + 3
    t.now += 1
    t.turn_drains()
    assert t.wake_at == t.now + 2
