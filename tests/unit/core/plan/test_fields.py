"""Differences of two specs, leaf by leaf."""

from stackd.core.model.analysis import AnalysisPolicy, Limits
from stackd.core.model.container import Grant, Resources
from stackd.core.model.strategy import (
    Amount,
    Analyse,
    Pause,
    SetScale,
    SetWeight,
    Strategy,
    StrategyKind,
)
from stackd.core.plan.fields import differences
from tests.fakes.stacks import service


def shown(before: object, after: object) -> list[str]:
    return [str(change) for change in differences(before, after)]  # type: ignore[arg-type]


def test_equal_specs_do_not_differ() -> None:
    assert differences(service(), service()) == ()
    assert differences(None, None) == ()


def test_paths_read_like_the_stack_file_and_are_sorted() -> None:
    before = service(replicas=2, container_environment={"A": "1", "B": "2"})
    after = service(replicas=3, container_environment={"A": "9", "C": "3"})
    assert shown(before, after) == [
        "container.environment.A: 1 -> 9",
        "container.environment.B: - 2",
        "container.environment.C: + 3",
        "replicas: 2 -> 3",
    ]


def test_a_change_back_to_a_default_shows_the_default() -> None:
    before = service(container_resources=Resources(cpus=2.0))
    assert shown(before, service()) == [f"container.resources.cpus: 2.0 -> {Resources().cpus}"]


def test_lists_are_one_value() -> None:
    before = service(container_command=("a", "b"))
    assert shown(before, service(container_command=("a",))) == ["container.command: [a, b] -> [a]"]


def test_lists_of_structs_show_their_fields() -> None:
    grants = (Grant(name="key", target="/k", version="v1"),)
    [change] = differences(service(), service(container_secrets=grants))
    assert "name: key" in change.after
    assert "version: v1" in change.after


def test_everything_of_a_new_value_is_an_addition() -> None:
    assert all(change.before == "" for change in differences(None, service()))


def test_booleans_are_words() -> None:
    assert shown(service(), service(container_init=True)) == ["container.init: false -> true"]


def test_steps_read_as_in_status() -> None:
    steps = (
        SetWeight(weight=50),
        Pause(seconds=60.0),
        SetScale(tasks=Amount(value=50, percent=True)),
    )
    before, after = Strategy(), Strategy(kind=StrategyKind.CANARY, steps=(*steps, Pause()))
    told = "steps: [] -> [set_weight 0.5%, pause 60s, set_scale 50%, pause until promoted]"
    assert told in list(map(str, differences(before, after)))


def test_a_step_that_is_an_analysis_shows_what_it_asks() -> None:
    strict = AnalysisPolicy(limits=Limits(error_rate=0.02, latency_p99=None))
    before, after = (
        Strategy(kind=StrategyKind.CANARY, steps=(Analyse(policy=policy),))
        for policy in (AnalysisPolicy(), strict)
    )
    [told] = map(str, differences(before, after))
    old, new = told.split(" -> ")
    assert old.startswith("steps: [{analysis: {compare: {error_ratio: 3.0, ")
    assert "limits: {error_rate: 0.05, latency_p99: 0.5}" in old
    assert "limits: {error_rate: 0.02, latency_p99: }" in new
