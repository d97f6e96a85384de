"""A rollout and its analyses, as they are shown."""

import msgspec
import pytest

from stackd.core.model.analysis import (
    Analysis,
    AnalysisPolicy,
    AnalysisState,
    CheckOutcome,
    CheckState,
    Estimate,
    Judgement,
    Metric,
    Reading,
    Run,
    Span,
    Tally,
    Verdict,
)
from stackd.core.model.event import Event
from stackd.core.model.ids import RevisionId
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.strategy import Analyse, Matcher, Preview, SetWeight, Strategy, StrategyKind
from stackd.core.model.traffic import Steering
from stackd.core.model.variants import Tried, UserGoal, Variants
from stackd.core.model.world import World
from stackd.manager.api.underway import analysis_rows, rollout_row, variants_row
from tests.fakes.stacks import NOW, deployed, put, service, stack

OLD, NEW = RevisionId("a" * 12), RevisionId("b" * 12)
POLICY = Strategy(
    kind=StrategyKind.CANARY, steps=(SetWeight(weight=500), Analyse(policy=AnalysisPolicy()))
)


def world() -> World:
    return deployed(stack(service(strategy=POLICY)))


def state(**fields: object) -> ServiceState:
    base: dict[str, object] = {"id": "r1", "target": NEW, "source": OLD, "started": NOW}
    rollout = Rollout(**{**base, **fields})  # type: ignore[arg-type]
    return ServiceState(stack="shop", service="web", stable=OLD, rollout=rollout)


def test_a_service_that_never_had_a_rollout() -> None:
    assert rollout_row(world(), ServiceState(stack="shop", service="web"), NOW) is None


@pytest.mark.parametrize(
    ("fields", "waits", "left"),
    [
        ({}, "", 0),
        ({"step": 1}, "analysis", 0),
        ({"waits": True}, "person", 0),
        ({"pause_left": 60.0, "pause_at": NOW}, "time", 58),
        ({"pause_left": 60.0, "pause_at": NOW, "phase": RolloutPhase.COMPLETE}, "", 0),
    ],
)
def test_what_it_waits_for(fields: dict[str, object], waits: str, left: float) -> None:
    row = rollout_row(world(), state(**fields), NOW + 2)
    assert row is not None
    assert (row.waits_for, row.pause_left) == (waits, left)
    assert (row.source, row.target, row.started) == (OLD, NEW, "2023-11-14T22:13:20Z")


def test_who_let_it_go_on() -> None:
    found = world()
    for number, (kind, at) in enumerate(
        [("promoted", NOW - 9), ("promoted", NOW + 5), ("paused", NOW + 6), ("promoted", NOW + 9)]
    ):
        event = Event(
            id=f"e{number}",
            at=at,
            kind=f"rollout.{kind}",
            object="shop/web",
            principal=f"p{number}",
        )
        put(found, event)
    row = rollout_row(found, state(), NOW + 10)
    assert row is not None
    assert row.promoted == ("p1 at 2023-11-14T22:13:25Z", "p3 at 2023-11-14T22:13:29Z")


def test_where_requests_are_steered() -> None:
    steering = Steering(
        matches=(Matcher(header="x-group", exact="b"), Matcher(cookie="g", exact="1")),
        matched=NEW,
        mirror=2500,
        mirrored=NEW,
        preview=Preview(published=8081),
        previewed=NEW,
        sticky=True,
    )
    row = rollout_row(world(), msgspec.structs.replace(state(), steering=steering), NOW)
    assert row is not None
    assert row.steering == (
        f"header x-group=b or cookie g=1 to {NEW}",
        f"25% mirrored to {NEW}",
        f"port 8081 to {NEW}",
        "the weights share out users, each keeps its revision",
    )


def test_analyses_of_this_rollout_only() -> None:
    known = AnalysisState(
        canary=NEW,
        stable=OLD,
        started=NOW,
        canary_tally=Tally(requests=120),
        stable_tally=Tally(requests=2400),
        checks={"smoke": CheckState(at=NOW, outcome=CheckOutcome.PASS, text="200")},
    )
    span = Span(value=0.01, low=0.005, high=0.02)
    reading = Reading(
        metric=Metric.ERRORS,
        canary=span,
        stable=span,
        ratio=None,
        evidence=1.5,
        fails_at=100,
        fine=2,
        passes_at=20,
    )
    said = Judgement(
        verdict=Verdict.INCONCLUSIVE,
        final=False,
        reason="not enough requests",
        estimate=Estimate(requests=1900, seconds=720),
        readings=(reading,),
    )
    runs = {"step 10": Run(state=known), "step 2": Run(state=known, judgement=said, at=NOW)}
    record = Analysis(stack="shop", service="web", rollout="r1", runs=runs)
    found = put(world(), record)
    first, second = analysis_rows(found, state())
    assert (first.place, first.verdict, first.final) == ("step 2", "inconclusive", False)
    assert (first.requests_left, first.seconds_left) == (1900, 720)
    assert (first.canary_requests, first.stable_requests) == (120, 2400)
    assert first.readings == (reading,)
    assert first.checks == {"smoke": "pass: 200"}
    assert (second.place, second.readings, second.at) == ("step 10", (), "")
    assert list(analysis_rows(found, state(id="r2"))) == []


def test_what_both_variants_did_is_that_of_this_rollout() -> None:
    found = world()
    assert variants_row(found, state()) is None
    counts = Variants(
        goal=UserGoal(path="/order"),
        since=NOW,
        at=NOW,
        stable=Tried(requests=30, goals=3),
        target=Tried(requests=10, goals=1),
    )
    put(found, Analysis(stack="shop", service="web", rollout="r1", variants=counts))
    row = variants_row(found, state())
    assert row is not None
    assert [(v.revision, v.role, v.requests) for v in row.variants] == [
        (OLD, "stable", 30),
        (NEW, "target", 10),
    ]
    assert row.goal is not None
    assert variants_row(found, state(id="r2")) is None
