"""Plans played in virtual time: the deciders are real, so what is played is what happens."""

from typing import Any

import pytest

from stackd.core.foresight.feasibility import infeasible, tight
from stackd.core.foresight.simulate import Play, blocked, simulate
from stackd.core.model.analysis import AnalysisPolicy, Check, CheckKind
from stackd.core.model.api.simulation import SimulationAnswer
from stackd.core.model.container import ContainerSpec, Resources
from stackd.core.model.event import Event
from stackd.core.model.stack import DependsOn, ServiceSpec
from stackd.core.model.strategy import Amount, Analyse, Pause, SetWeight, Strategy, StrategyKind
from stackd.core.model.task import Task
from stackd.core.model.toggle import Toggle
from stackd.core.model.world import World
from stackd.core.plan import records
from stackd.core.plan.make import Plan, make_plan
from stackd.core.rollout import commands
from stackd.core.rollout.commands import Asked
from tests.fakes.agent import Behaviour
from tests.fakes.simulation import START, Simulation
from tests.fakes.stacks import declare, service, stack

HALF = Resources(reserve_cpus=0.5, reserve_memory=1 << 28)


def web(name: str = "web", **fields: Any) -> ServiceSpec:
    fields.setdefault("container_resources", HALF)
    return service(name, **fields)


def canary(*steps: Any, **fields: Any) -> Strategy:
    return Strategy(kind=StrategyKind.CANARY, steps=steps, **fields)


def planned(world: World, *services: ServiceSpec, letter: str = "b") -> Plan:
    return make_plan(world, declare(stack(*services), letter))


def running(*services: ServiceSpec, nodes: int = 2) -> Simulation:
    """A cluster in which these run as they are."""
    sim = Simulation(nodes)
    sim.agents.behaviours = {s.name: Behaviour(prepare=0, start=3, stop=1) for s in services}
    declared(sim, planned(sim.world, *services, letter="a"))
    sim.advance(60)
    return sim


def declared(sim: Simulation, plan: Plan) -> None:
    for changes in records.preparation(sim.world, plan, ()):
        sim.commit(changes)
    stamp = records.Stamp(at=sim.now, by="tester", event=next(sim.ids))
    sim.commit(records.release(sim.world, plan, stamp))


def played(sim: Simulation, *services: ServiceSpec, letter: str = "b") -> SimulationAnswer:
    return simulate(sim.world, planned(sim.world, *services, letter=letter), (), (), sim.now)


def told(answer: SimulationAnswer) -> list[str]:
    return [f"{s.at:g} {s.object.partition('/')[2]} {s.text}" for s in answer.steps]


def short(answer: SimulationAnswer) -> list[str]:
    """Times and what happens, without revisions."""
    return [" ".join(w for w in line.split() if len(w) != 12) for line in told(answer)]


def test_a_first_rollout_is_ready_after_the_assumed_start() -> None:
    answer = played(Simulation(2), web(replicas=3))
    assert short(answer) == ["0 web started: first:", "10 web completed: runs in full"]
    assert answer.duration == answer.cleared == 10
    assert answer.assumed.start_seconds == {"web": 5.0}
    assert answer.assumed.measured == ()
    assert [(p.node, p.tasks, p.cpus, p.memory) for p in answer.peaks] == [
        ("n1", 2, 1.0, 1 << 29),
        ("n2", 1, 0.5, 1 << 28),
    ]
    assert answer.peaks[0].has_cpus == 4


def test_what_is_played_is_what_then_happens() -> None:
    """The same plan through the manager's loops, with agents that take as long."""
    old = web(replicas=4)
    new = web(replicas=4, strategy=Strategy(max_surge=Amount(value=2)))
    sim = running(old)
    answer = played(sim, new)
    began = sim.now
    before = {event.id for event in sim.world.all(Event)}
    declared(sim, planned(sim.world, new))
    sim.advance(60)
    real = [
        (round(e.at - began, 1), e.kind.partition(".")[2])
        for e in sim.world.all(Event)
        if e.id not in before and e.kind.startswith("rollout.")
    ]
    found = [(round(s.at, 1), s.text.partition(":")[0]) for s in answer.steps]
    assert found == real
    assert len(found) >= 4
    assert answer.assumed.start_seconds == {"web": 3.0}
    assert answer.assumed.measured == ("web",)
    assert answer.blocked == ()


def test_the_world_stays_as_it_is() -> None:
    sim = running(web(replicas=2))
    before = sorted(map(repr, (task for task in sim.world.all(Task))))
    revision = sim.world.revision
    played(sim, web(replicas=2))
    assert sorted(map(repr, (task for task in sim.world.all(Task)))) == before
    assert sim.world.revision == revision


def test_timed_pauses_take_their_time_and_people_none() -> None:
    steps = (SetWeight(weight=500), Pause(seconds=86400), SetWeight(weight=5000), Pause())
    answer = played(running(web(replicas=4)), web(replicas=4, strategy=canary(*steps)))
    assert short(answer) == [
        "0 web started: ->",
        "0 web step 1 of 4: set_weight 5%",
        "8 web step 2 of 4: pause 86400s",
        "86408 web step 3 of 4: set_weight 50%",
        "86416 web step 4 of 4: pause until promoted",
        "86416 web takes over",
        "86424 web completed: runs in full",
        "86454 web retired: stops: scale_down_delay is over",
    ]
    waits = [(s.wait, s.seconds) for s in answer.steps if s.wait]
    assert waits == [("timed", 86400), ("person", 0)]
    assert (answer.people, answer.duration, answer.cleared) == (1, 86424, 86455)
    assert sum(peak.tasks for peak in answer.peaks) == 8, "both revisions whole at the end"
    assert answer.blocked == ()


def test_analyses_pass_and_are_shown_as_waits() -> None:
    policy = AnalysisPolicy(warm_up=20, interval=5)
    steps = (SetWeight(weight=500), Analyse(policy=policy), SetWeight(weight=5000))
    strategy = canary(*steps, analysis=policy)
    answer = played(running(web(replicas=4)), web(replicas=4, strategy=strategy))
    assert [(s.wait, s.seconds) for s in answer.steps if s.wait] == [("analysis", 25)]
    assert [s.text.partition(":")[0] for s in answer.steps][-2:] == ["completed", "retired"]
    assert (answer.people, answer.blocked) == (0, ())


def test_the_way_to_a_proven_revision_takes_no_steps() -> None:
    strategy = canary(SetWeight(weight=500), Pause())
    sim = running(web())
    declared(sim, planned(sim.world, web(), letter="b"))
    sim.advance(60)
    answer = played(sim, web(strategy=strategy), letter="a")
    assert [s.text.split(":")[0] for s in answer.steps] == ["started", "completed", "retired"]
    assert answer.people == 0


def test_a_long_pause_costs_no_more_than_a_short_one() -> None:
    sim = running(web())
    looks = []
    for seconds in (60, 86400 * 7):
        strategy = canary(SetWeight(weight=500), Pause(seconds=seconds))
        play = Play(sim.world, planned(sim.world, web(strategy=strategy)), sim.now)
        play.run(planned(sim.world, web(strategy=strategy)), (), ())
        looks.append(play.virtual.looks)
    assert looks[1] <= looks[0] + 10


def test_what_finds_no_room_is_said() -> None:
    answer = played(running(web(replicas=2)), web(replicas=20, container_resources=HALF))
    assert len(answer.blocked) == 1
    assert "no node has room: 2 without CPU" in answer.blocked[0]
    assert max(peak.cpus for peak in answer.peaks) == 4
    assert any(s.text.startswith("failed: ") for s in answer.steps)


def test_dependents_come_after_what_they_need() -> None:
    db, app = web("db"), web("app", depends_on={"db": DependsOn.HEALTHY})
    answer = played(Simulation(1), app, db)
    ends = [(s.at, s.object) for s in answer.steps if s.text.startswith("completed")]
    assert ends == [(10, "shop/db"), (20, "shop/app")]


def test_what_is_no_longer_declared_goes_last() -> None:
    answer = played(running(web("old"), web("web")), web("web"))
    assert [line for line in short(answer) if " old " in line or "completed" in line] == [
        "9 web completed: runs in full",
        "9 old removing: it is no longer declared",
        "10 old removed: its last task has ended",
    ]
    assert answer.duration == answer.cleared


def test_nothing_to_do_takes_no_time() -> None:
    sim = running(web())
    answer = played(sim, web(), letter="a")
    assert (answer.steps, answer.duration, answer.blocked) == ((), 0, ())


def test_reasons_against_the_plan_come_first() -> None:
    world = Simulation(1).world
    answer = simulate(world, planned(world, web()), (), ("port 80 is taken",), START)
    assert answer.blocked == ("port 80 is taken",)


@pytest.mark.parametrize("nodes", [0, 1])
def test_without_room_at_all(nodes: int) -> None:
    huge = Resources(reserve_cpus=64)
    spec = ServiceSpec(name="web", container=ContainerSpec(image="web", resources=huge))
    answer = played(Simulation(nodes), spec)
    assert answer.blocked
    assert "no node" in answer.blocked[0]


def flagged(share: int, image: str = "web:1") -> ServiceSpec:
    steps = (
        SetWeight(weight=min(share, 100)),
        Pause(seconds=3_600),
        Analyse(policy=AnalysisPolicy(warm_up=30, interval=10)),
        Pause(),
        SetWeight(weight=share),
    )
    return web(
        image=image,
        features={"cart": Toggle(share=share)},
        stages={"cart": Strategy(kind=StrategyKind.STAGED, steps=steps)},
    )


def test_a_toggle_grows_by_its_steps_once_its_service_is_there() -> None:
    answer = played(running(flagged(0)), flagged(10_000))
    assert short(answer) == [
        "0 web started: ->",
        "0 web/cart started: 0% -> 100%",
        "8 web progress: 1 of 1 tasks updated",
        "9 web completed: runs in full",
        "9 web/cart step 1 of 5: set_weight 1%",
        "9 web/cart step 2 of 5: pause 3600s",
        "3609 web/cart step 3 of 5: analysis",
        "3649 web/cart step 4 of 5: pause until promoted",
        "3649 web/cart step 5 of 5: set_weight 100%",
        "3649 web/cart completed: 100% is reached",
    ]
    assert (answer.people, answer.blocked) == (1, ())


def test_gates_are_taken_to_confirm_and_are_no_persons() -> None:
    gate = Check(name="ci", kind=CheckKind.WEBHOOK, url="http://ci.example/")
    beside = AnalysisPolicy(checks=(gate,))
    strategy = canary(SetWeight(weight=500), Pause(seconds=60), analysis=beside)
    answer = played(running(web(replicas=4)), web(replicas=4, strategy=strategy))
    assert (answer.blocked, answer.people) == ((), 0)
    assert any("completed" in line for line in told(answer))


def two_blue_greens(delay: float) -> tuple[World, Plan, float]:
    """Each has room for its green, both at once have not."""
    room = Resources(reserve_cpus=0.6, reserve_memory=1 << 20)
    strategy = Strategy(kind=StrategyKind.BLUE_GREEN, scale_down_delay=delay)
    both = [
        web(name, replicas=2, container_resources=room, strategy=strategy) for name in ("a", "b")
    ]
    sim = running(*both, nodes=1)
    return sim.world, planned(sim.world, *both), sim.now


def test_rollouts_that_can_take_turns_do_not_block_each_other() -> None:
    world, plan, now = two_blue_greens(delay=30)
    assert infeasible(world, plan) == ()
    assert tight(world, plan)
    assert blocked(world, plan, (), now) == ()


def test_a_rollout_that_gets_no_room_before_its_deadline_is_seen_in_advance() -> None:
    world, plan, now = two_blue_greens(delay=3600)
    [cause] = blocked(world, plan, (), now)
    assert cause.startswith("played in advance, shop/b is aborted")
    assert "no node has room" in cause


@pytest.mark.parametrize("again", [False, True], ids=["still declared", "declared once more"])
def test_what_was_refused_before_blocks_nothing(again: bool) -> None:
    room = Resources(reserve_cpus=0.6, reserve_memory=1 << 20)
    strategy = Strategy(kind=StrategyKind.BLUE_GREEN, scale_down_delay=30)
    good = web("c", container_resources=Resources())
    bad = web("c", container_resources=Resources(), container_command=("bad",))
    old, new = (
        [
            web(n, replicas=2, strategy=strategy, container_resources=room, container_command=(c,))
            for n in ("a", "b")
        ]
        for c in ("old", "new")
    )
    sim = running(*old, good, nodes=1)
    declared(sim, planned(sim.world, *old, bad, letter="a"))
    sim.advance(1)
    sim.commit(commands.abort(sim.world, "shop", "c", Asked("ann", sim.now, sim.ids.__next__)))
    if again:
        declared(sim, planned(sim.world, *old, good, letter="a"))
    sim.advance(30)
    plan = planned(sim.world, *new, bad, letter="a")
    assert tight(sim.world, plan)
    assert blocked(sim.world, plan, (), sim.now) == ()
    found = played(sim, *new, bad, letter="a").blocked
    assert [text.partition(": ")[0] for text in found] == ["shop/c is aborted"] * again


def test_rollouts_with_room_for_all_need_no_proof() -> None:
    sim = running(web("a"), web("b"))
    assert not tight(sim.world, planned(sim.world, web("a"), web("b")))


def test_what_takes_too_long_to_play_blocks_nothing() -> None:
    world, plan, now = two_blue_greens(delay=3600)
    assert blocked(world, plan, (), now, most=3) == ()
