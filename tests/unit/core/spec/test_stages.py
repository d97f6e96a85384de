"""`strategy` of a feature toggle."""

import pytest

from stackd.core.model.analysis import CheckKind
from stackd.core.model.strategy import Analyse, OnFailure, Pause, SetWeight, Strategy, StrategyKind
from tests.unit.core.spec.stacks import faults, service

HTTP = "ports: [{target: 80, published: 80, app_protocol: http}]"


def stages(strategy: str, rollout: str = "100%", more: str = "") -> Strategy:
    text = f"features: {{f: {{rollout: {rollout}, strategy: {strategy}}}}}"
    return service(f"{text}\n{more}" if more else text).stages["f"]


def test_steps_end_at_the_declared_share() -> None:
    found = stages("{steps: [{set_weight: 1%}, {pause: 10m}, {set_weight: 10%}, {pause: {}}]}")
    assert found.kind is StrategyKind.STAGED
    assert found.steps == (
        SetWeight(weight=100),
        Pause(seconds=600),
        SetWeight(weight=1_000),
        Pause(),
        SetWeight(weight=10_000),
    )
    assert (found.on_failure, found.progress_deadline) == (OnFailure.ROLLBACK, 600)


@pytest.mark.parametrize(("rollout", "weights"), [("100%", [100, 10_000]), ("0.5%", [50, 50])])
def test_steps_beyond_the_share_stop_there(rollout: str, weights: list[int]) -> None:
    found = stages("{steps: [{set_weight: 1%}, {set_weight: 100%}]}", rollout)
    assert [s.weight for s in found.steps if isinstance(s, SetWeight)] == weights


def test_a_toggle_without_strategy_has_no_stages() -> None:
    assert service("features: {f: {rollout: 10%}, g: true}").stages == {}


def test_analyses_beside_the_steps_and_as_steps() -> None:
    found = stages(
        "{steps: [{set_weight: 1%}, {analysis: {limits: {error_rate: 2%}}}],"
        " analysis: {checks: [{http: {url: 'http://x/'}}]},"
        " on_failure: step_back, progress_deadline: 1m}",
        more=HTTP,
    )
    assert found.analysis is not None
    assert [check.kind for check in found.analysis.checks] == [CheckKind.HTTP]
    assert found.analysis.limits.error_rate is None, "checks alone, where no limit is given"
    judged = found.steps[1]
    assert isinstance(judged, Analyse)
    assert judged.policy.limits.error_rate == 0.02
    assert judged.policy.compare.error_ratio is None
    assert judged.policy.compare.latency is None
    assert (found.on_failure, found.progress_deadline) == (OnFailure.STEP_BACK, 60)


def test_without_anything_given_the_requests_of_the_service_are_limited() -> None:
    found = stages("{steps: [{set_weight: 1%}], analysis: {}}", more=HTTP)
    assert found.analysis is not None
    assert (found.analysis.limits.error_rate, found.analysis.limits.latency_p99) == (0.05, 0.5)


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("{}", "7:19 steps is missing"),
        ("{steps: []}", "7:27 must not be empty"),
        (
            "{steps: [{set_scale: 3}]}",
            "7:29 set_scale is about tasks and requests, which a toggle has not: remove it",
        ),
        (
            "{steps: [{mirror: 1%}]}",
            "7:29 mirror is about tasks and requests, which a toggle has not: remove it",
        ),
        (
            "{steps: [{set_weight: 5%}, {set_weight: 1%}]}",
            "7:46 1% comes after 5%: weights only go up",
        ),
        (
            "{steps: [{set_weight: 5%}], analysis: {compare: {error_rate: {}}}}",
            "7:58 nothing tells the requests of those whom a toggle reaches from others,"
            " to be compared: use limits or checks",
        ),
        (
            "{steps: [{set_weight: 5%}], on_failure: continue}",
            "7:59 'continue' is unknown: use rollback or pause or step_back",
        ),
    ],
)
def test_refused_with_the_place(strategy: str, said: str) -> None:
    text = f"features:\n  f:\n    rollout: 100%\n    strategy: {strategy}\n{HTTP}"
    assert faults(text) == said


def test_without_an_http_port_checks_decide() -> None:
    found = stages("{steps: [{set_weight: 1%}], analysis: {checks: [{command: [/bin/true]}]}}")
    assert found.analysis is not None
    assert (found.analysis.limits.error_rate, found.analysis.limits.latency_p99) == (None, None)


def test_without_an_http_port_checks_are_asked_for() -> None:
    found = faults(
        "features: {f: {rollout: 5%, strategy:"
        " {steps: [{set_weight: 1%}, {analysis: {limits: {error_rate: 1%}}}]}}}"
    )
    assert found.startswith("4:82 limits needs requests that are seen one by one")
    assert found.endswith("add `ports:` with `app_protocol: http`, or use checks")


def test_a_strategy_says_how_far() -> None:
    found = faults("features: {f: {strategy: {steps: [{set_weight: 1%}]}}}")
    assert found == "4:19 strategy takes the toggle to its share: add `rollout: 100%`"


def test_no_service_is_staged() -> None:
    found = faults("deploy: {strategy: {type: staged}}")
    assert found.startswith("4:31 'staged' is unknown: use rolling")
