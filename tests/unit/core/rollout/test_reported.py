"""What is said of a commit: the worst of its stacks, or what holds whatever they do."""

import msgspec

from stackd.core.model.release import Stack
from stackd.core.model.source import CommitState, RepositoryStatus
from stackd.core.rollout import commands, reported
from stackd.core.rollout.outcome import Code
from stackd.core.rollout.reported import Said
from tests.fakes.agent import Behaviour
from tests.fakes.simulation import Simulation, web


def from_git(sim: Simulation, revision: str, commit: str, *before: str) -> None:
    """Deploy the stack `shop` as a repository does."""
    sim.deploy("shop", {"web": (web(), revision)})
    head = sim.world.get(Stack, "shop")
    assert head is not None
    owned = msgspec.structs.replace(head, owner="repo:ops", commit=commit, seen_commit=commit)
    release = sim.world.release("shop")
    assert release is not None
    sim.write(msgspec.structs.replace(release, commit=commit), owned)
    sim.write(RepositoryStatus(name="ops", commit=commit, ancestors=before))


def said(sim: Simulation, commit: str) -> tuple[CommitState, str]:
    code, found = reported.of_stack(sim.world, "shop", commit, sim.now)
    assert found.state is reported.joined([(code, found)], 1).state
    return found.state, found.kind


def test_the_life_of_a_commit() -> None:
    sim = Simulation(1)
    from_git(sim, "a", "c1")
    assert said(sim, "c1") == (CommitState.PENDING, "pending")
    sim.settle()
    assert said(sim, "c1") == (CommitState.PENDING, "progressing")
    sim.advance(20)
    assert said(sim, "c1") == (CommitState.SUCCESS, "healthy")


def test_a_commit_that_was_taken_back() -> None:
    sim = Simulation(1)
    from_git(sim, "a", "c1")
    sim.advance(20)
    sim.agents.behaviours["web@b"] = Behaviour(fail_after=0.1)
    from_git(sim, "b", "c2", "c1")
    sim.advance(20)
    assert said(sim, "c2") == (CommitState.FAILURE, "aborted")


def test_a_commit_that_waits_for_a_person() -> None:
    sim = Simulation(1)
    from_git(sim, "a", "c1")
    sim.advance(20)
    from_git(sim, "b", "c2", "c1")
    sim.advance(1)
    asked = commands.Asked("ann", sim.now, sim.ids.__next__)
    sim.commit(commands.pause(sim.world, "shop", "web", asked))
    assert said(sim, "c2") == (CommitState.PENDING, "paused")


def test_a_commit_that_was_superseded() -> None:
    sim = Simulation(1)
    from_git(sim, "a", "c1")
    from_git(sim, "b", "c2", "c1")
    assert said(sim, "c1")[0] is CommitState.SUPERSEDED


def test_the_worst_stack_is_told() -> None:
    def one(code: Code, state: CommitState) -> tuple[Code, Said]:
        return code, Said(state=state, kind="", text=code.name)

    pending = one(Code.NOT_YET, CommitState.PENDING)
    person = one(Code.PERSON, CommitState.PENDING)
    failed = one(Code.FAILED, CommitState.FAILURE)
    assert reported.joined([pending, failed, person], 3).text == "FAILED"
    assert reported.joined([pending, person], 3).text == "PERSON"
    assert reported.joined([], 3) == Said(
        state=CommitState.SUCCESS, kind="healthy", text="3 stacks as declared"
    )
    assert reported.joined([], 0).text == "no stacks"


def test_what_holds_whatever_the_stacks_do() -> None:
    status = RepositoryStatus(
        name="ops", commit="c3", ancestors=("c2",), problems=("a:1:1: x", "b")
    )
    invalid = reported.of_repository(status, "c3")
    assert invalid is not None
    assert (invalid.state, invalid.text) == (CommitState.FAILURE, "a:1:1: x (and 1 more)")
    gone = reported.of_repository(status, "c1")
    assert gone is not None
    assert (gone.state, gone.kind) == (CommitState.SUPERSEDED, "gone")
    assert reported.of_repository(status, "c2") is None


def test_stacks_of_a_repository() -> None:
    sim = Simulation(1)
    sim.write(
        Stack(name="mine", owner="repo:ops", release=1),
        Stack(name="leaving", owner="repo:ops", release=1, removing=True),
        Stack(name="other", owner="repo:ops2", release=1),
    )
    assert reported.owned(sim.world, "ops") == ["mine"]
