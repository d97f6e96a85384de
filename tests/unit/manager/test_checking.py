"""What checks are asked about."""

from msgspec.structs import replace

from stackd.core.model.analysis import AnalysisPolicy, Check, CheckKind
from stackd.core.model.rollout import ServiceState
from stackd.core.model.strategy import Pause, SetWeight, Strategy, StrategyKind
from stackd.manager.checking import subject
from stackd.manager.checks import Subject
from tests.fakes.simulation import Simulation, web

CI = Check(name="ci", kind=CheckKind.WEBHOOK, url="http://ci.example/")
SMOKE = Check(name="smoke", kind=CheckKind.COMMAND, command=("/bin/smoke",))
POLICY = Strategy(
    kind=StrategyKind.CANARY,
    steps=(SetWeight(weight=500), Pause()),
    analysis=AnalysisPolicy(checks=(CI, SMOKE)),
)
KEY = "shop/web"


def canary() -> Simulation:
    """Revision b waits at the gate before its first step."""
    sim = Simulation(1)
    for revision in ("a", "b"):
        sim.deploy("shop", {"web": (web(strategy=POLICY), revision)})
        sim.advance(20)
    return sim


def test_a_gate_is_told_of_the_step_before_it_as_the_rollout_is_now() -> None:
    sim = canary()
    state = sim.world.get(ServiceState, KEY)
    assert state is not None
    rollout = state.rollout
    assert rollout is not None
    at = (KEY, rollout.id, "background")
    told = Subject("shop", "web", "background", "b", "a")
    first = replace_step(told, 1, "set_weight 5%")
    assert subject(sim.world, at, CI) == first
    sim.write(replace(state, rollout=replace(rollout, confirmed=1)))
    assert subject(sim.world, at, CI) == replace_step(told, 2, "pause until promoted")
    assert subject(sim.world, at, SMOKE) == told, "a command is asked about no step"
    sim.write(replace(state, rollout=replace(rollout, step=2, confirmed=3)))
    assert subject(sim.world, at, CI) is None, "nothing is left to confirm"
    assert subject(sim.world, at, SMOKE) == told


def replace_step(told: Subject, step: int, words: str) -> Subject:
    return Subject(told.stack, told.service, told.place, "b", "a", "", step, words, 3)


def test_nobody_is_asked_about_a_rollout_that_is_over() -> None:
    sim = canary()
    for place in ((KEY, "another", "background"), ("shop/gone", "r", "background")):
        assert subject(sim.world, place, CI) is None
