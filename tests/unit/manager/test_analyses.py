"""The analyses loop: what is looked at, when, and what is committed."""

from collections.abc import Iterator, Mapping
from itertools import count

import msgspec
import pytest

from stackd.core.model.analysis import (
    Analysis,
    AnalysisPolicy,
    Check,
    CheckKind,
    CheckOutcome,
    CheckResult,
    Compare,
    Limits,
    Run,
    Verdict,
)
from stackd.core.model.container import ContainerSpec
from stackd.core.model.decision import Decision
from stackd.core.model.ids import NodeId, RevisionId, TaskId
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.record import Delete, Put
from stackd.core.model.release import Release, ServiceRelease, Stack
from stackd.core.model.requests import Batch, Count, Measured, Variant
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState, ToggleState
from stackd.core.model.stack import ServiceSpec, StackSpec
from stackd.core.model.states import NodeState, TaskState
from stackd.core.model.strategy import Analyse, SetWeight, Strategy, StrategyKind
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.toggle import Toggle
from stackd.core.model.variants import GoalVerdict, Tried, UserGoal
from stackd.core.model.world import World
from stackd.manager.analyses import COUNTED_EVERY, Analyses, Answers
from stackd.manager.inbox import Inbox

KEY = "shop/web"
NEW, OLD = RevisionId("new"), RevisionId("old")
START = 1000.0
QUICK = AnalysisPolicy(
    compare=Compare(error_ratio=3.0, latency=None),
    limits=Limits(error_rate=0.05, latency_p99=None),
    warm_up=0.0,
    min_requests=50,
    interval=10.0,
)


GOAL = UserGoal(path="/order", method="POST")


class Scene:
    """A service in a canary rollout, an inbox and the loop's decider."""

    def __init__(self, **strategy: object) -> None:
        self.world = World()
        self.now = START
        self.inbox = Inbox(lambda key: True)
        self.answers = Answers()
        self.analyses = Analyses(self.inbox, self.answers)
        self._ids = (f"id{n}" for n in count())
        self._sequences: Iterator[int] = count(1)
        self.strategy(**(strategy or {"analysis": QUICK}))
        self.rollout()

    def strategy(self, **fields: object) -> None:
        values = {"kind": StrategyKind.CANARY, **fields}
        policy = msgspec.structs.replace(Strategy(), **values)
        spec = ServiceSpec(name="web", container=ContainerSpec(image="x"), strategy=policy)
        release = Release(
            stack="shop",
            number=1,
            spec=StackSpec(name="shop", services={"web": spec}),
            services={"web": ServiceRelease(spec=spec, revision=NEW)},
        )
        self.put(release, Stack(name="shop", owner="cli", release=1))

    def rollout(self, **fields: object) -> None:
        made = Rollout(id="r1", target=NEW, source=OLD, started=self.now)
        made = msgspec.structs.replace(made, **fields)
        self.put(ServiceState(stack="shop", service="web", stable=OLD, rollout=made))

    def put(self, *records: object) -> None:
        self.world.revision += 1
        for record in records:
            self.world.apply(record, self.world.revision)  # type: ignore[arg-type]

    def turn(self, *, commits: bool = True) -> Decision:
        decision = self.analyses.decide(self.world, KEY, self.now, lambda: next(self._ids))
        for commit in decision.commits if commits else ():
            for change in commit.changes:
                if isinstance(change, Put):
                    self.put(change.record)
                else:
                    self.world.remove(change.ref.table, change.ref.key)
        return decision

    def tried(
        self, revision: RevisionId, requests: int, goals: int = 0, goal: str = GOAL.words
    ) -> None:
        """What a node counted of a variant."""
        tried = Tried(requests=requests, goals=goals, errors=requests // 100)
        told = Variant(stack="shop", service="web", revision=revision, goal=goal, tried=tried)
        self.inbox.put("n1", Measured(variants=(told,)))

    def counted(self) -> tuple[Tried, Tried]:
        """What is stored of both variants, a look later."""
        self.now += COUNTED_EVERY
        self.turn()
        found = self.world.get(Analysis, KEY)
        assert found is not None
        assert found.variants is not None
        return found.variants.stable, found.variants.target

    def answered(self, revision: RevisionId, requests: int, errors: int = 0) -> None:
        """So many requests to one task, the errors spread out."""
        batches = []
        failing = {n * requests // errors for n in range(errors)} if errors else set()
        for start in range(0, requests, 10):
            failed = tuple(n - start for n in range(start, start + 10) if n in failing)
            batches.append(
                Batch(
                    stack="shop",
                    service="web",
                    revision=revision,
                    instance=f"t-{revision}",
                    sequence=next(self._sequences),
                    since=self.now,
                    seconds=(0.01,) * 10,
                    failed=failed,
                )
            )
        grown = Count(
            stack="shop", service="web", revision=revision, requests=requests, errors=errors
        )
        self.inbox.put("n1", Measured(batches=tuple(batches), counts=(grown,)))

    @property
    def runs(self) -> Mapping[str, Run]:
        found = self.world.get(Analysis, KEY)
        return found.runs if found else {}

    def verdict(self) -> Verdict:
        judgement = self.runs["background"].judgement
        assert judgement is not None
        return judgement.verdict


def test_a_bad_canary_fails_by_what_its_requests_say() -> None:
    scene = Scene()
    decision = scene.turn()
    assert decision.wake_at == START + 10
    assert decision.commits[0].relies[0].key == KEY
    assert scene.verdict() is Verdict.INCONCLUSIVE
    for _ in range(2):
        scene.now += 10
        scene.answered(OLD, 200, 1)
        scene.answered(NEW, 50, 40)
        decision = scene.turn()
    assert scene.verdict() is Verdict.FAIL
    assert scene.runs["background"].state.final
    assert decision.wake_at is None
    scene.now += 10
    assert scene.turn().commits == ()


def test_an_equal_canary_passes_and_judged_requests_are_forgotten() -> None:
    scene = Scene(steps=(SetWeight(weight=500), Analyse(policy=QUICK)))
    scene.rollout(step=1, judges=True)
    scene.turn()
    scene.now += 10
    scene.answered(OLD, 2000, 4)
    scene.answered(NEW, 200, 0)
    scene.turn()
    assert scene.inbox.batches(KEY) != ()
    judgement = scene.runs["step 2"].judgement
    assert judgement is not None
    assert judgement.verdict is Verdict.PASS
    assert judgement.final
    scene.turn()
    assert scene.inbox.batches(KEY) == ()


def test_nothing_is_looked_at_before_it_is_due_and_a_lost_commit_loses_nothing() -> None:
    scene = Scene()
    scene.turn()
    scene.answered(NEW, 20)
    assert scene.turn().commits == ()
    scene.now += 10
    scene.turn(commits=False)
    scene.turn()
    state = scene.runs["background"].state
    assert state.canary_tally.requests == 20
    assert state.counters is not None
    assert state.counters.requests == 20


def test_a_new_leader_goes_on_from_what_is_stored() -> None:
    scene = Scene()
    scene.turn()
    for _ in range(2):
        scene.now += 10
        scene.answered(NEW, 100)
        scene.turn()
        scene.inbox = Inbox(lambda key: True)
        scene.analyses = Analyses(scene.inbox, scene.answers)
    state = scene.runs["background"].state
    assert state.started == START
    assert state.canary_tally.requests == 200
    assert state.counters is not None
    assert state.counters.requests == 200


def test_another_rollout_starts_anew_and_one_that_ended_is_kept_for_people() -> None:
    scene = Scene()
    scene.turn()
    scene.rollout(id="r2")
    scene.now += 1
    scene.turn()
    assert scene.runs["background"].state.started == START + 1
    scene.rollout(id="r2", ended=scene.now, phase=RolloutPhase.ABORTED)
    scene.answered(NEW, 20)
    assert scene.turn().commits == ()
    assert list(scene.runs) == ["background"]
    assert scene.inbox.batches(KEY) == ()


def test_a_removed_service_leaves_no_record() -> None:
    scene = Scene()
    scene.turn()
    scene.world.remove(ServiceState.TABLE, KEY)
    (commit,) = scene.turn().commits
    assert [type(change) for change in commit.changes] == [Delete]
    assert scene.runs == {}


def test_a_first_rollout_has_nothing_to_be_compared_with() -> None:
    scene = Scene()
    scene.rollout(source=None)
    assert scene.turn().commits == ()


def test_blocks_are_small_where_stable_fails_often() -> None:
    scene = Scene()
    scene.answered(OLD, 1000, 60)
    scene.turn()
    assert scene.runs["background"].block == 2


def test_a_node_that_went_out_of_hearing_forbids_a_pass() -> None:
    scene = Scene(steps=(Analyse(policy=QUICK),))
    scene.rollout(judges=True)
    scene.put(Node(id=NodeId("n2"), name="two"), Node(id=NodeId("n3"), name="three"))
    scene.put(NodeStatus(id=NodeId("n3"), state=NodeState.DOWN, since=START - 5))
    scene.turn()
    scene.put(NodeStatus(id=NodeId("n2"), state=NodeState.DOWN, since=START + 5))
    scene.now += 10
    scene.answered(OLD, 2000, 4)
    scene.answered(NEW, 200, 0)
    scene.turn()
    judgement = scene.runs["step 1"].judgement
    assert judgement is not None
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "node two is not heard" in judgement.reason
    scene.put(NodeStatus(id=NodeId("n2"), state=NodeState.READY, since=START + 12))
    scene.now += 10
    scene.turn()
    assert scene.runs["step 1"].state.verdict is Verdict.PASS


def test_crashes_of_the_canary_count_from_when_the_analysis_began() -> None:
    scene = Scene()
    scene.now += 1
    scene.turn()
    for name, seen, stop in (
        ("t1", START, False),
        ("t2", START + 5, True),
        ("t3", START + 6, False),
    ):
        scene.put(
            Task(id=TaskId(name), stack="shop", service="web", slot="1", revision=NEW),
            TaskDesired(id=TaskId(name), stop=stop, stop_at=START + 4 if stop else 0),
            TaskStatus(id=TaskId(name), state=TaskState.FAILED, seen=seen),
        )
    scene.now += 10
    scene.turn()
    assert scene.verdict() is Verdict.INCONCLUSIVE
    scene.put(
        Task(id=TaskId("t4"), stack="shop", service="web", slot="1", revision=NEW),
        TaskStatus(id=TaskId("t4"), state=TaskState.FAILED, seen=START + 15, oom_killed=True),
    )
    scene.now += 10
    scene.turn()
    assert scene.verdict() is Verdict.FAIL


@pytest.mark.parametrize("said", [None, CheckOutcome.ERROR, CheckOutcome.WAIT])
@pytest.mark.parametrize("interval", [10.0, 3600.0])
def test_a_source_that_never_answers_ends_the_step_at_its_time_limit(
    said: CheckOutcome | None, interval: float
) -> None:
    check = Check(name="orders", kind=CheckKind.PROMETHEUS, url="http://x", query="up")
    policy = msgspec.structs.replace(
        QUICK,
        compare=Compare(error_ratio=None, latency=None),
        limits=Limits(error_rate=None, latency_p99=None),
        checks=(check,),
        interval=interval,
        time_limit=45.0,
    )
    scene = Scene(steps=(Analyse(policy=policy),))
    scene.rollout(judges=True)
    looks = 0
    while (wake_at := scene.turn().wake_at) is not None:
        assert scene.runs["step 1"].state.verdict is Verdict.INCONCLUSIVE
        assert scene.now < wake_at <= START + 45
        scene.now, looks = wake_at, looks + 1
        if said is not None:
            result = CheckResult(name="orders", at=scene.now, outcome=said, text="no answer")
            scene.answers.put((KEY, "r1", "step 1"), check, result)
    judgement = scene.runs["step 1"].judgement
    assert judgement is not None
    assert (scene.now, judgement.final) == (START + 45, True)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reason.startswith("no verdict within 45s: check orders ")
    assert looks == (5 if interval == 10.0 else 1)


def test_a_source_that_is_down_is_never_a_pass_and_failures_in_a_row_fail() -> None:
    check = Check(name="smoke", kind=CheckKind.HTTP, url="http://x", failures=2)
    only = AnalysisPolicy(
        compare=Compare(error_ratio=None, latency=None),
        limits=Limits(error_rate=None, latency_p99=None),
        checks=(check,),
        warm_up=0.0,
        interval=10.0,
    )
    scene = Scene(analysis=only)
    place = (KEY, "r1", "background")
    said = [
        (CheckOutcome.ERROR, Verdict.INCONCLUSIVE),
        (CheckOutcome.PASS, Verdict.PASS),
        (CheckOutcome.FAIL, Verdict.INCONCLUSIVE),
        (CheckOutcome.ERROR, Verdict.INCONCLUSIVE),
        (CheckOutcome.FAIL, Verdict.FAIL),
    ]
    for outcome, verdict in said:
        scene.answers.put(place, check, CheckResult(name="smoke", at=scene.now, outcome=outcome))
        scene.turn()
        assert scene.verdict() is verdict, outcome
        scene.now += 10


def test_both_variants_are_counted_without_an_analysis_as_soon_as_requests_come() -> None:
    scene = Scene(kind=StrategyKind.AB, split=2000)
    scene.tried(OLD, 500, goal="")
    decision = scene.turn()
    assert decision.wake_at == START + COUNTED_EVERY
    assert scene.counted() == (Tried(), Tried())
    scene.tried(NEW, 1, goal="")
    scene.tried(OLD, 300, goal="")
    assert scene.counted() == (Tried(requests=300, errors=3), Tried(requests=1))
    assert scene.runs == {}
    assert scene.turn().commits == ()


def test_counts_of_variants_survive_lost_commits_and_another_leader() -> None:
    scene = Scene(kind=StrategyKind.AB, split=2000, goal=GOAL)
    scene.turn()
    for n in (1, 2, 3):
        scene.tried(OLD, 50, 5)
        scene.tried(NEW, 40, 8)
        scene.now += COUNTED_EVERY
        scene.turn(commits=False)
        assert scene.counted() == (
            Tried(requests=n * 50, goals=n * 5),
            Tried(requests=n * 40, goals=n * 8),
        )
        scene.inbox = Inbox(lambda key: True)
        scene.analyses = Analyses(scene.inbox, scene.answers)


def test_an_edited_goal_is_counted_anew_and_a_decided_one_stands() -> None:
    scene = Scene(kind=StrategyKind.AB, split=5000, goal=GOAL)
    scene.turn()
    scene.tried(OLD, 2000, 100)
    scene.tried(NEW, 2000, 300)
    scene.counted()
    found = scene.world.get(Analysis, KEY)
    assert found is not None
    assert found.variants is not None
    assert found.variants.verdict is GoalVerdict.BETTER
    other = UserGoal(path_prefix="/thanks")
    scene.strategy(kind=StrategyKind.AB, split=5000, goal=other)
    scene.tried(OLD, 2000, 100)
    assert scene.counted() == (Tried(), Tried())
    scene.tried(OLD, 7, 1, goal=other.words)
    assert scene.counted() == (Tried(requests=7, goals=1), Tried())
    found = scene.world.get(Analysis, KEY)
    assert found is not None
    assert found.variants is not None
    assert found.variants.verdict is GoalVerdict.INCONCLUSIVE


def test_only_a_rollout_that_shares_out_users_is_counted() -> None:
    for fields in ({"full": True}, {"phase": RolloutPhase.ROLLING_BACK}):
        scene = Scene(kind=StrategyKind.AB, split=2000)
        scene.rollout(**fields)
        scene.tried(NEW, 5, goal="")
        assert scene.turn().commits == ()


class Grown(Scene):
    """The same service with a toggle on its way from 0 % to 100 %."""

    KEY = f"{KEY}/cart"

    def __init__(self, policy: AnalysisPolicy, own: Strategy | None = None) -> None:
        super().__init__(analysis=None)
        self.put(ServiceState(stack="shop", service="web", stable=NEW))
        steps = (SetWeight(weight=100), SetWeight(weight=10_000))
        staged = Strategy(kind=StrategyKind.STAGED, steps=steps, analysis=policy)
        spec = ServiceSpec(
            name="web",
            container=ContainerSpec(image="x"),
            features={"cart": Toggle(share=10_000)},
            stages={"cart": staged},
            strategy=own or Strategy(),
        )
        release = Release(
            stack="shop",
            number=1,
            spec=StackSpec(name="shop", services={"web": spec}),
            services={"web": ServiceRelease(spec=spec, revision=NEW)},
        )
        self.put(release)
        self.toggle()

    def toggle(self, **fields: object) -> None:
        base = Rollout(id="r2", target=RevisionId("100%"), source=RevisionId("0%"))
        made = msgspec.structs.replace(base, **fields)
        self.put(
            ToggleState(stack="shop", service="web/cart", stable=RevisionId("0%"), rollout=made)
        )

    @property
    def runs(self) -> Mapping[str, Run]:
        found = self.world.get(Analysis, self.KEY)
        return found.runs if found else {}


LIMITED = msgspec.structs.replace(QUICK, compare=Compare(error_ratio=None, latency=None))


def test_a_toggle_is_judged_by_all_requests_of_its_service() -> None:
    scene = Grown(LIMITED)
    decision = scene.turn()
    assert decision.commits[0].relies[0].key == scene.KEY
    scene.now += 10
    scene.answered(NEW, 600, errors=120)
    scene.turn()
    assert scene.verdict() is Verdict.FAIL
    assert scene.world.get(Analysis, KEY) is None, "the service itself is not looked at"


def test_a_toggle_of_a_good_service_passes() -> None:
    scene = Grown(LIMITED)
    scene.turn()
    scene.now += 10
    scene.answered(NEW, 2_000)
    scene.turn()
    assert scene.verdict() is Verdict.PASS
    assert scene.inbox.batches(KEY)
    scene.turn()
    assert not scene.inbox.batches(KEY), "what was judged is dropped"


def test_a_toggle_fails_with_the_tasks_of_its_service() -> None:
    scene = Grown(LIMITED)
    scene.turn()
    task = Task(id=TaskId("t"), stack="shop", service="web", slot="1", revision=NEW)
    for n in range(3):
        one = msgspec.structs.replace(task, id=TaskId(f"t{n}"))
        status = TaskStatus(id=one.id, state=TaskState.FAILED, seen=scene.now + 5)
        scene.put(one, TaskDesired(id=one.id, state=TaskState.RUNNING), status)
    scene.now += 10
    scene.turn()
    assert scene.verdict() is Verdict.FAIL


def test_what_went_well_at_a_smaller_share_does_not_hide_what_a_larger_one_does() -> None:
    scene = Grown(LIMITED)
    scene.turn()
    for _ in range(20):
        scene.now += 10
        scene.answered(NEW, 1_000)
        scene.turn()
    assert scene.verdict() is Verdict.PASS
    state = scene.world.get(ToggleState, scene.KEY)
    assert state is not None
    scene.now += 1  # the next look is due in 9 s
    scene.put(msgspec.structs.replace(state, weights=ToggleState.reaching(2_000)))
    scene.turn()
    known = scene.runs["background"].state
    assert (known.share, known.shares, known.canary_tally.requests) == (2_000, 2, 0)
    scene.now += 9
    scene.answered(NEW, 200, errors=40)
    scene.turn()
    assert scene.verdict() is Verdict.FAIL
    reason = "20.00% of 200 requests failed, the limit is 5.00%"
    assert scene.runs["background"].state.reason == reason


def test_a_toggle_that_stands_still_is_not_looked_at() -> None:
    scene = Grown(LIMITED)
    scene.toggle(stands=True)
    assert scene.turn().commits == ()
    scene.toggle(stands=False, attempt=1)
    scene.turn()
    assert [*scene.runs] == ["background, attempt 2"]


def test_answers_of_checks_are_kept_as_long_as_their_rollout_goes_on() -> None:
    check = Check(name="smoke", kind=CheckKind.COMMAND, command=("true",))
    result = CheckResult(name="smoke", at=1.0, outcome=CheckOutcome.PASS)
    answers = Answers()
    service, toggle, other = (KEY, "r1", "x"), (f"{KEY}/cart", "r2", "x"), ("shop/w", "r3", "x")
    for place in (service, toggle, other):
        answers.put(place, check, result)
    answers.keep(KEY, {toggle[:2]})
    assert [len(answers.of(place)) for place in (service, toggle, other)] == [0, 1, 1]


def test_variants_are_counted_for_the_service_and_not_for_its_toggle() -> None:
    scene = Grown(LIMITED, Strategy(kind=StrategyKind.AB, split=2000))
    scene.rollout()
    scene.turn()
    scene.tried(NEW, 5, goal="")
    assert scene.counted() == (Tried(), Tried(requests=5))
    toggle = scene.world.get(Analysis, scene.KEY)
    assert toggle is not None
    assert toggle.variants is None
    assert [*toggle.runs] == ["background"]
