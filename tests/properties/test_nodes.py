"""Whatever nodes do, in the middle of whatever is rolled out: nobody is taken below what the policy
allows by a drain, nothing hangs on a node that is gone, and in the end all is as declared.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackd.core.model.rollout import ServiceState
from stackd.core.model.stack import Mode, ServiceSpec
from stackd.core.model.states import Availability, NodeState
from stackd.core.model.strategy import Amount, OnFailure, Strategy, StrategyKind
from stackd.core.model.traffic import TrafficEntry
from stackd.core.rollout.pauses import ACTIVE
from tests.fakes.simulation import Simulation, web

pytestmark = pytest.mark.timeout(900)  # a failing example is made small before it is shown

COSTLY = settings(max_examples=settings().max_examples // 3)
NODES = ("n1", "n2", "n3")


@dataclass(frozen=True)
class Move:
    """What happens, to which node, and how long until the next."""

    what: str
    node: str
    wait: float


def moves(*kinds: str) -> st.SearchStrategy[list[Move]]:
    return st.lists(
        st.builds(
            Move,
            what=st.sampled_from(kinds),
            node=st.sampled_from(NODES),
            wait=st.sampled_from([0.0, 0.1, 0.8, 3.0, 12.0]),
        ),
        min_size=1,
        max_size=8,
    )


policies = st.builds(
    Strategy,
    kind=st.sampled_from([StrategyKind.ROLLING, StrategyKind.ROLLING, StrategyKind.RECREATE]),
    max_surge=st.sampled_from([Amount(value=n) for n in (0, 1, 2)]),
    max_unavailable=st.sampled_from([Amount(value=0), Amount(value=1)]),
    parallelism=st.sampled_from([0, 1]),
    monitor=st.sampled_from([0.0, 2.0]),
    on_failure=st.just(OnFailure.PAUSE),
)


class Watched(Simulation):
    """Checks at every step. `floor`: ready tasks that must be there now."""

    def __init__(self) -> None:
        super().__init__(3)
        self.floor = 0

    def check(self) -> None:
        ready = sum(v.ready for v in self.world.tasks_of("shop", "web"))
        assert ready >= self.floor, f"{ready} ready, {self.floor} promised"


def acts(sim: Simulation, spec: ServiceSpec) -> dict[str, Callable[[str], object]]:
    number = iter(range(1, 100))

    def reboot(node: str) -> None:
        sim.set_node(node, state=NodeState.DOWN)
        sim.advance(1)
        sim.reboot(node)

    return {
        "drain": lambda node: sim.set_node(node, availability=Availability.DRAIN),
        "activate": lambda node: sim.set_node(node, availability=Availability.ACTIVE),
        "pause": lambda node: sim.set_node(node, availability=Availability.PAUSE),
        "down": lambda node: sim.set_node(node, state=NodeState.DOWN),
        "back": lambda node: sim.set_node(node, state=NodeState.READY),
        "reboot": reboot,
        "restart": lambda _: sim.restart_manager(),
        "release": lambda _: sim.deploy("shop", {"web": (spec, f"r{next(number)}")}),
    }


def play(sim: Simulation, spec: ServiceSpec, script: list[Move]) -> None:
    known = acts(sim, spec)
    for move in script:
        known[move.what](move.node)
        sim.advance(move.wait)


def settled(sim: Simulation, wanted: int) -> None:
    """All nodes are back and take tasks: what is declared runs, and nothing else."""
    for node in NODES:
        sim.set_node(node, state=NodeState.READY, availability=Availability.ACTIVE)
    sim.advance(400)
    state = sim.world.get(ServiceState, "shop/web")
    assert state is not None
    assert state.rollout is not None
    assert state.rollout.phase not in ACTIVE, state.rollout
    views = [v for v in sim.world.tasks_of("shop", "web") if v.live]
    assert {v.task.revision for v in views} == {state.stable}
    assert len({v.task.slot for v in views}) == len(views) == wanted
    assert all(v.ready and v.wanted for v in views)
    entry = sim.world.get(TrafficEntry, "shop/web")
    assert entry is not None
    assert {e.task for e in entry.endpoints} == {v.task.id for v in views}
    assert entry.listening


def service(policy: Strategy, **fields: object) -> ServiceSpec:
    back = msgspec.structs.replace(policy, on_failure=OnFailure.PAUSE)
    return web(strategy=policy, rollback=back, **fields)


@COSTLY
@given(
    policy=policies,
    replicas=st.integers(1, 6),
    script=moves("drain", "activate", "pause", "restart", "release"),
)
def test_drains_keep_what_rollouts_promise(
    policy: Strategy, replicas: int, script: list[Move]
) -> None:
    sim = Watched()
    spec = service(policy, replicas=replicas)
    sim.deploy("shop", {"web": (spec, "r0")})
    sim.advance(20)
    _, unavailable = policy.limits(replicas)
    released = any(move.what == "release" for move in script)
    if policy.kind is StrategyKind.RECREATE:
        unavailable = replicas if released else max(1, unavailable)
    sim.floor = replicas - unavailable
    play(sim, spec, script)
    settled(sim, replicas)


@COSTLY
@given(
    policy=policies,
    replicas=st.integers(1, 6),
    script=moves("drain", "activate", "down", "down", "back", "reboot", "restart", "release"),
)
def test_nothing_hangs_on_a_node_that_is_gone(
    policy: Strategy, replicas: int, script: list[Move]
) -> None:
    sim = Watched()
    spec = service(policy, replicas=replicas)
    sim.deploy("shop", {"web": (spec, "r0")})
    sim.advance(20)
    play(sim, spec, script)
    settled(sim, replicas)


@COSTLY
@given(
    policy=policies,
    script=moves("drain", "activate", "down", "back", "reboot", "restart", "release"),
)
def test_a_global_service_follows_its_nodes(policy: Strategy, script: list[Move]) -> None:
    sim = Watched()
    spec = service(policy, mode=Mode.GLOBAL)
    sim.deploy("shop", {"web": (spec, "r0")})
    sim.advance(20)
    play(sim, spec, script)
    settled(sim, len(NODES))


@COSTLY
@given(
    replicas=st.integers(1, 4),
    script=moves("drain", "activate", "down", "back", "reboot", "restart"),
)
def test_a_removed_stack_leaves_nothing_though_a_node_is_gone(
    replicas: int, script: list[Move]
) -> None:
    sim = Watched()
    spec = service(Strategy(), replicas=replicas)
    sim.deploy("shop", {"web": (spec, "r0")})
    sim.advance(20)
    play(sim, spec, script)
    sim.set_node("n1", state=NodeState.READY)
    sim.remove("shop")
    sim.advance(120)
    left = {place.table for place in sim.world.places()}
    assert left <= {"nodes", "node_status", "mem_reports", "events"}
