"""The control loop: decides on what changed, commits, looks again, outlives its own faults."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from stackd.core.model.decision import Decision, Dirty
from stackd.core.model.record import Changes, Put, Ref, ref
from stackd.core.model.release import Hold, Stack
from stackd.core.model.world import World
from stackd.errors import Unavailable
from stackd.manager.loop import ControlLoop
from stackd.store import codec
from stackd.store.kv import PutOp
from stackd.store.tables import store_key
from tests.fakes.harness import Harness


def stack(name: str, release: int = 1) -> Stack:
    return Stack(name=name, owner="cli", release=release)


def hold(name: str) -> Hold:
    return Hold(stack=name, service="s", revision="r", reason="", at=0)  # type: ignore[arg-type]


def put(*records: Stack | Hold, relies: tuple[Ref, ...] = ()) -> Changes:
    return Changes(changes=tuple(Put(record=record) for record in records), relies=relies)


@dataclass
class Recorder:
    """A decider that notes each pass and answers with what the test has set."""

    passes: list[tuple[float, Dirty]] = field(default_factory=list)
    answers: list[Decision | Exception] = field(default_factory=list)

    def decide(self, world: World, dirty: Dirty, now: float, ids: Iterator[str]) -> Decision:
        self.passes.append((now, dirty))
        answer = self.answers.pop(0) if self.answers else Decision()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def loop(self) -> ControlLoop:
        return ControlLoop("recorder", (Stack,), self.decide)


async def test_it_looks_at_everything_first_then_at_what_changed() -> None:
    recorder = Recorder()
    async with Harness([recorder.loop()]) as h:
        await h.put(stack("a"), stack("b"))
        await h.put(hold("a"))
    assert [dirty for _, dirty in recorder.passes] == [
        Dirty(everything=True),
        Dirty(everything=False, refs=frozenset({ref(Stack, "a"), ref(Stack, "b")})),
    ]


async def test_it_wakes_when_it_asked_to() -> None:
    recorder = Recorder()
    async with Harness([recorder.loop()]) as h:
        start = h.now
        recorder.answers = [Decision(wake_at=start + 7)]
        await h.put(stack("a"))
        await h.advance(20)
        assert [now - start for now, _ in recorder.passes] == [0, 0, 7]
        assert recorder.passes[-1][1] == Dirty(everything=False)


async def test_a_time_in_the_past_does_not_spin() -> None:
    recorder = Recorder(answers=[Decision(wake_at=1)] * 1000)
    async with Harness([recorder.loop()]) as h:
        await h.advance(0.1)
    assert 5 <= len(recorder.passes) <= 15


async def test_all_commits_of_a_pass_rest_on_the_world_it_saw() -> None:
    recorder = Recorder()
    async with Harness([recorder.loop()]) as h:
        # Two commits that replace the same record: the second must not see the first.
        recorder.answers = [Decision(commits=(put(stack("a", 1)), put(stack("a", 2))))]
        await h.put(stack("x"))
        assert h.world.get(Stack, "a") == stack("a", 1)
        places = {ref(Stack, "x"), ref(Stack, "a")}
        assert recorder.passes[-1][1].refs == places, "after a conflict all of it comes again"


async def test_a_conflict_of_one_commit_leaves_the_others_written() -> None:
    recorder = Recorder()
    async with Harness([recorder.loop()]) as h:
        commits = (put(stack("a", 1)), put(stack("a", 2)), put(stack("b")))
        recorder.answers = [Decision(commits=commits)]
        await h.put(stack("x"))
        assert h.world.get(Stack, "b") == stack("b")


async def test_a_bug_in_one_loop_leaves_the_others_running(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = Recorder(answers=[ZeroDivisionError("bug")] * 6)
    sound = Recorder()
    async with Harness([broken.loop(), sound.loop()]) as h:
        start = h.now
        await h.put(stack("a"))
        assert len(sound.passes) == 2
        await h.advance(120)
        assert [now - start for now, _ in broken.passes] == [0, 1, 3, 7, 15, 31, 63]
        assert broken.passes[-1][1].everything, "what the failed passes were about is not lost"
    assert "loop recorder failed" in caplog.text


async def test_a_store_that_does_not_answer_is_waited_for() -> None:
    recorder = Recorder()
    async with Harness([recorder.loop()]) as h:
        recorder.answers = [Decision(commits=(put(hold("a")),))] * 3
        await h.store.txn([], [PutOp(store_key(ref(Stack, "a")), codec.encode(stack("a")))])
        h.store.faults.unavailable = True
        await h.settle()
        assert h.world.get(Hold, "a/s/r") is None
        h.store.faults.unavailable = False
        await h.advance(2)
        assert h.world.get(Hold, "a/s/r") is not None


async def test_ids_are_handed_to_the_decider() -> None:
    seen: list[str] = []

    def decide(world: World, dirty: Dirty, now: float, ids: Iterator[str]) -> Decision:
        seen.append(next(ids))
        return Decision()

    async with Harness([ControlLoop("ids", (Stack,), decide)]) as h:
        await h.put(stack("a"))
    assert seen == ["t00000000001", "t00000000002"]


async def test_loops_that_feed_each_other_for_ever_are_found() -> None:
    def decide(world: World, dirty: Dirty, now: float, ids: Iterator[str]) -> Decision:
        return Decision(commits=(put(stack("a", int(next(ids)[1:]))),))

    with pytest.raises((AssertionError, ExceptionGroup)):
        async with Harness([ControlLoop("restless", (Stack,), decide)]):
            pass


async def test_an_error_of_the_store_is_the_reason_of_the_pause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Recorder(answers=[Unavailable("The disk is full.", retry_after=5)])
    async with Harness([recorder.loop()]) as h:
        start = h.now
        await h.advance(6)
        assert [now - start for now, _ in recorder.passes] == [0, 5]
    assert "The disk is full." in caplog.text
