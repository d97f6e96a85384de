"""The tree of `status`: what a person needs to decide is on it."""

import io

import msgspec
import pytest
from rich.console import Console

from stackd.cli.drawing import draw
from stackd.core.model.analysis import Metric, Reading, Span
from stackd.core.model.api import (
    AnalysisRow,
    FlagRow,
    GoalRow,
    RevisionRow,
    RolloutRow,
    ServiceStatus,
    StackStatus,
    StatusAnswer,
    TaskLife,
    TaskRow,
    VariantRow,
    VariantsRow,
)

OLD, NEW = "a" * 12, "b" * 12
READING = Reading(
    metric=Metric.ERRORS,
    canary=Span(value=0.048, low=0.031, high=0.07),
    stable=Span(value=0.005, low=0.004, high=0.006),
    ratio=Span(value=8.2, low=4, high=15),
    evidence=37.2,
    fails_at=100,
    fine=0.31,
    passes_at=20,
)
ANALYSIS = AnalysisRow(
    place="step 3",
    verdict="inconclusive",
    final=False,
    reason="the canary may be worse",
    at="2023-11-14T22:13:20Z",
    canary_requests=1200,
    stable_requests=24000,
    requests_left=1900,
    seconds_left=720,
    readings=(READING,),
    checks={"smoke": "pass: 200"},
)
ROLLOUT = RolloutRow(
    target=NEW,
    source=OLD,
    phase="progressing",
    started="2023-11-14T22:13:20Z",
    by="ann",
    release=12,
    commit="c" * 40,
    waits_for="time",
    pause_left=241,
    promoted=("bob at 2023-11-14T22:20:00Z",),
    steering=(f"header x=b to {NEW}",),
)
SERVICE = ServiceStatus(
    stack="shop",
    service="web",
    phase="progressing",
    reason=f"{OLD} -> {NEW}: step 2 of 2: pause 5m",
    strategy="canary",
    step=1,
    steps=("set_weight 20%", "pause 300s", "take over"),
    weights={OLD: 8000, NEW: 2000},
    revisions=(
        RevisionRow(id=NEW, role="target", image="web:2", desired=1, running=1, ready=0, weight=0),
        RevisionRow(
            id=OLD, role="stable", image="web:1", desired=2, running=2, ready=2, weight=10000
        ),
    ),
    release=12,
    commit="c" * 40,
    owner="repo:shop",
    hold=(),
    override=None,
    rollout=ROLLOUT,
    analyses=(ANALYSIS,),
    measured={OLD: 812, NEW: 188},
)
TASK = TaskRow(
    id="0" * 12,
    stack="shop",
    service="web",
    slot=1,
    revision=NEW,
    node="node1",
    state="starting",
    desired_state="running",
    health="starting",
    in_flight=0,
    addresses={},
    image="web:2",
    error="",
    since="",
)


def drawn(service: ServiceStatus, *foot: str) -> list[str]:
    stack = StackStatus(
        stack="shop",
        release=12,
        commit="c" * 40,
        seen_commit="",
        owner="repo:shop",
        phase=service.phase,
        services=(service,),
    )
    answer = StatusAnswer(
        stacks=(stack,),
        service="web",
        events=("2023 a.b shop/web x",),
        lives={TASK.id: TaskLife(age=205, restarts=2)},
    )
    out = io.StringIO()
    Console(file=out, width=200).print(draw(answer, [TASK], foot))
    return [line.strip(" │├└─") for line in out.getvalue().splitlines()]


def test_a_rollout_under_way_is_told_whole() -> None:
    assert drawn(SERVICE, "p promote") == [
        "shop  ◌ progressing  release 12 commit cccccccccccc  owner repo:shop",
        "web  ◌ progressing  canary",
        f"{OLD} -> {NEW}: step 2 of 2: pause 5m",
        "release 12  commit cccccccccccc  began 2023-11-14T22:13:20Z by ann; "
        "promoted by bob at 2023-11-14T22:20:00Z",
        "✔ set_weight 20%",
        "▶ pause 300s  4m 1s left",
        "take over",
        f"header x=b to {NEW}",
        "analysis step 3  ◌ inconclusive  the canary may be worse; about 1,900 more requests, 12m",
        "requests judged: canary 1,200, stable 24,000",
        "failed: canary 4.80% [3.10%, 7.00%], stable 0.50% [0.40%, 0.60%], 8.2 times [4, 15]; "
        "evidence of worse 37.2 of 100, of no worse 0.31 of 20",
        "check smoke: pass: 200",
        f"# {NEW} target  0/1 ready  ░░░░░░░░░░░░░░░░░░░░  0% of 20% wanted  "
        "measured 18.80% of 1,000  web:2",
        "1 000000000000 starting starting  node1  3m  restarts: 2",
        f"# {OLD} stable  2/2 ready  ████████████████████  100% of 80% wanted  "
        "measured 81.20% of 1,000  web:1",
        "2023 a.b shop/web x",
        "p promote",
    ]


@pytest.mark.parametrize(
    ("waits", "words"),
    [
        ("person", "▶ pause 300s  waits for you: stackd promote shop/web"),
        ("analysis", "▶ pause 300s  waits for its verdict"),
        ("", "▶ pause 300s"),
    ],
)
def test_what_the_current_step_waits_for(waits: str, words: str) -> None:
    rollout = msgspec.structs.replace(ROLLOUT, waits_for=waits)
    assert words in drawn(msgspec.structs.replace(SERVICE, rollout=rollout))


def test_what_the_reason_says_is_not_said_again() -> None:
    waiting = msgspec.structs.replace(SERVICE, reason="waits for db")
    assert any(line.startswith(f"{OLD} -> {NEW}  release 12") for line in drawn(waiting))
    row = msgspec.structs.replace(ANALYSIS, reason="too little; about 1,900 more requests, 12m")
    lines = drawn(msgspec.structs.replace(SERVICE, analyses=(row,)))
    assert f"analysis step 3  ◌ inconclusive  {row.reason}" in lines
    row = msgspec.structs.replace(ANALYSIS, requests_left=0, seconds_left=0)
    lines = drawn(msgspec.structs.replace(SERVICE, analyses=(row,)))
    assert "analysis step 3  ◌ inconclusive  the canary may be worse" in lines


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (Span(value=8.2, low=4, high=float("inf")), "0.60%], 8.2 times [4, ∞]; evidence"),
        (Span(value=float("inf"), low=0.3, high=float("inf")), "0.60%]; evidence"),
        (None, "0.60%]; evidence"),
    ],
)
def test_ratios_without_an_end(ratio: Span | None, words: str) -> None:
    reading = msgspec.structs.replace(READING, ratio=ratio)
    row = msgspec.structs.replace(ANALYSIS, readings=(reading,))
    assert any(words in line for line in drawn(msgspec.structs.replace(SERVICE, analyses=(row,))))


def test_an_ended_rollout_shows_no_steps() -> None:
    rollout = msgspec.structs.replace(ROLLOUT, phase="complete", waits_for="")
    ended = msgspec.structs.replace(SERVICE, phase="healthy", rollout=rollout)
    lines = drawn(ended)
    assert not any(line.startswith(("✔ set_weight", "▶", "analysis")) for line in lines)
    assert "web  ✔ healthy  canary" in lines


def test_what_refused_a_revision_stays_to_be_seen() -> None:
    rollout = msgspec.structs.replace(ROLLOUT, phase="aborted", waits_for="")
    row = msgspec.structs.replace(ANALYSIS, verdict="fail", final=True)
    refused = msgspec.structs.replace(
        SERVICE, phase="aborted", rollout=rollout, analyses=(row,), hold=(f"{NEW} refused: x",)
    )
    lines = drawn(refused)
    assert "analysis step 3  ✖ fail  the canary may be worse" in lines
    assert f"{NEW} refused: x" in lines


def test_terminal_codes_of_others_are_made_visible() -> None:
    hostile = msgspec.structs.replace(
        SERVICE, rollout=msgspec.structs.replace(ROLLOUT, promoted=("\x1b[31mx",))
    )
    assert any("\\x1b[31mx" in line for line in drawn(hostile))


def test_toggles_with_what_is_declared_and_what_is_set() -> None:
    toggle = FlagRow(
        stack="shop",
        service="web",
        feature="cart",
        share=2_500,
        declared=1_000,
        value=True,
        otherwise=False,
        rules=("plan is pro: 100%",),
        override={"share": 2_500, "by": "ann", "at": "2023"},
        since="2023",
        asked="",
        stale=False,
    )
    old = msgspec.structs.replace(
        toggle, feature="dark", share=10_000, declared=10_000, rules=(), override=None, stale=True
    )
    old = msgspec.structs.replace(old, unused=True)
    lines = drawn(msgspec.structs.replace(SERVICE, features=(toggle, old)))
    assert "toggle cart 25% set by ann, declared 10%  plan is pro: 100%" in lines
    assert "toggle dark 100%  stale  unused" in lines


VARIANTS = VariantsRow(
    since="2023-11-14T22:13:20Z",
    at="2023-11-14T22:20:00Z",
    variants=(
        VariantRow(
            revision=OLD,
            role="stable",
            requests=4000,
            errors=8,
            error_rate=Span(value=0.002, low=0.001, high=0.004),
            goals=160,
            goal_rate=Span(value=0.04, low=0.033, high=0.049),
        ),
        VariantRow(
            revision=NEW,
            role="target",
            requests=1000,
            errors=0,
            error_rate=Span(value=0.0, low=0.0, high=0.007),
            goals=50,
            goal_rate=Span(value=0.05, low=0.035, high=0.071),
        ),
    ),
    goal=GoalRow(
        words="POST /order 2xx",
        verdict="inconclusive",
        ratio=Span(value=1.25, low=0.8, high=1.9),
        better=1.3,
        worse=0.2,
        decides_at=200,
        requests_left=9000,
    ),
)


def test_both_variants_and_the_verdict_on_the_goal() -> None:
    seen = drawn(msgspec.structs.replace(SERVICE, variants=VARIANTS))
    at = seen.index(
        "variants  goal POST /order 2xx  ◌ inconclusive  1.25 times [0.8, 1.9] stable's rate; "
        "about 9,000 more requests; evidence of better 1.3, of worse 0.2 of 200"
    )
    assert seen[at + 1 : at + 3] == [
        f"stable {OLD}: 4,000 requests, failed 0.20% [0.10%, 0.40%], "
        "reached the goal 4.00% [3.30%, 4.90%]",
        f"target {NEW}: 1,000 requests, failed 0.00% [0.00%, 0.70%], "
        "reached the goal 5.00% [3.50%, 7.10%]",
    ]


def test_variants_without_a_goal_are_counted() -> None:
    first = msgspec.structs.replace(VARIANTS.variants[1], goal_rate=None)
    row = msgspec.structs.replace(VARIANTS, goal=None, variants=(first,))
    seen = drawn(msgspec.structs.replace(SERVICE, variants=row))
    at = seen.index("variants  counted since 2023-11-14T22:13:20Z")
    assert seen[at + 1] == f"target {NEW}: 1,000 requests, failed 0.00% [0.00%, 0.70%]"


def test_the_way_of_a_toggle_to_its_share() -> None:
    going = msgspec.structs.replace(ROLLOUT, target="100%", source="0%", promoted=(), steering=())
    toggle = FlagRow(
        stack="shop",
        service="web",
        feature="cart",
        share=1_000,
        declared=10_000,
        value=True,
        otherwise=False,
        rules=(),
        override=None,
        since="",
        asked="",
        stale=False,
        steps=("set_weight 10%", "pause 300s", "set_weight 100%"),
        step=1,
        phase="progressing",
        reason="0% -> 100%: step 2 of 3: pause 300s",
        rollout=going,
        analyses=(msgspec.structs.replace(ANALYSIS, readings=()),),
    )
    fields = {"features": (toggle,), "rollout": None, "analyses": (), "revisions": (), "reason": ""}
    assert drawn(msgspec.structs.replace(SERVICE, **fields))[2:-1] == [
        "toggle cart 10% of 100% declared  ◌ progressing",
        "0% -> 100%: step 2 of 3: pause 300s",
        "release 12  commit cccccccccccc  began 2023-11-14T22:13:20Z by ann",
        "✔ set_weight 10%",
        "▶ pause 300s  4m 1s left",
        "set_weight 100%",
        "analysis step 3  ◌ inconclusive  the canary may be worse; about 1,900 more requests, 12m",
        "requests judged: canary 1,200, stable 24,000",
        "check smoke: pass: 200",
    ]
    done = msgspec.structs.replace(toggle, phase="healthy", share=10_000)
    fields["features"] = (done,)
    assert drawn(msgspec.structs.replace(SERVICE, **fields))[2:-1] == ["toggle cart 100%"]
