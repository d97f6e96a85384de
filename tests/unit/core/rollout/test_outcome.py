"""What `wait` answers."""

import msgspec
import pytest

from stackd.core.model.release import Release, Stack
from stackd.core.model.source import RepositoryStatus
from stackd.core.plan import records
from stackd.core.rollout import commands, goback
from stackd.core.rollout.outcome import Code, Goal, gone, outcome
from tests.fakes.agent import Behaviour
from tests.fakes.simulation import Simulation, web


def code(sim: Simulation, **goal: object) -> Code:
    return outcome(sim.world, Goal("shop", **goal), sim.now).code  # type: ignore[arg-type]


def running() -> Simulation:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(), "a")})
    sim.advance(20)
    return sim


def test_done_once_healthy() -> None:
    sim = Simulation(1)
    assert code(sim) is Code.NOT_YET
    sim.deploy("shop", {"web": (web(), "a")})
    assert code(sim) is Code.NOT_YET
    sim.advance(20)
    assert code(sim) is Code.DONE


def test_failed_once_it_has_gone_back() -> None:
    sim = running()
    sim.agents.behaviours["web@b"] = Behaviour(fail_after=0.1, stop=3)
    sim.deploy("shop", {"web": (web(), "b")})
    sim.advance(20)
    assert code(sim) is Code.FAILED
    assert code(sim, service="web", revision="b") is Code.FAILED
    assert code(sim, service="web", revision="a") is Code.DONE


def test_a_pause_needs_a_person() -> None:
    sim = running()
    sim.deploy("shop", {"web": (web(), "b")})
    sim.advance(1)
    asked = commands.Asked("ann", sim.now, sim.ids.__next__)
    sim.commit(commands.pause(sim.world, "shop", "web", asked))
    assert code(sim) is Code.PERSON


def test_a_release_is_superseded_by_one_that_declares_something_else() -> None:
    sim = running()
    assert code(sim, release=2) is Code.NOT_YET
    sim.deploy("shop", {"web": (web(), "b")})
    assert code(sim, release=1) is Code.SUPERSEDED
    assert code(sim, service="web", revision="x") is Code.SUPERSEDED
    sim.deploy("shop", {"web": (web(), "a")})
    sim.advance(40)
    assert code(sim, release=1) is Code.DONE


def test_a_release_that_was_left_by_going_back_has_failed() -> None:
    sim = running()
    sim.deploy("shop", {"web": (web(), "b")})
    sim.advance(20)
    asked = commands.Asked("ann", sim.now, sim.ids.__next__)
    sim.commit(goback.rollback_stack(sim.world, "shop", asked))
    sim.advance(20)
    assert code(sim, release=2) is Code.FAILED
    assert code(sim, release=1) is Code.DONE
    assert code(sim, release=3) is Code.NOT_YET


def from_git(sim: Simulation, commit: str, seen: str, *ancestors: str, problem: str = "") -> None:
    head = sim.world.get(Stack, "shop")
    assert head is not None
    release = sim.world.release("shop")
    assert release is not None
    sim.write(
        msgspec.structs.replace(release, commit=commit),
        msgspec.structs.replace(
            head, owner="repo:main", commit=commit, seen_commit=seen, problem=problem
        ),
        RepositoryStatus(name="main", commit=seen, ancestors=ancestors),
    )


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("c1", Code.DONE), ("c2", Code.DONE), ("c9", Code.NOT_YET), ("c0", Code.DONE)],
)
def test_a_commit_that_left_the_stack_untouched_is_done_at_once(
    wanted: str, expected: Code
) -> None:
    sim = running()
    from_git(sim, "c1", "c2", "c1", "c0")
    assert code(sim, commit=wanted) is expected


def test_a_commit_is_superseded_by_a_later_one_with_other_content() -> None:
    sim = running()
    from_git(sim, "c1", "c1")
    sim.deploy("shop", {"web": (web(), "b")})
    from_git(sim, "c3", "c3", "c2", "c1")
    assert code(sim, commit="c2") is Code.SUPERSEDED
    assert code(sim, commit="c3") is Code.NOT_YET
    sim.advance(20)
    assert code(sim, commit="c3") is Code.DONE


def test_an_invalid_commit_has_failed() -> None:
    sim = running()
    from_git(sim, "c1", "c2", "c1", problem="stack.yml:3:1: unknown key")
    assert code(sim, commit="c2") is Code.FAILED
    assert code(sim, commit="c1") is Code.DONE


def test_an_invalid_commit_has_failed_also_when_others_come_after_it() -> None:
    sim = running()
    from_git(sim, "c1", "c1")
    for commit in ("c2", "c3"):
        sim.commit(records.seen(sim.world, "shop", commit, "stack.yml:3:1: unknown key"))
    sim.write(RepositoryStatus(name="main", commit="c3", ancestors=("c2", "c1")))
    assert code(sim, commit="c3") is Code.FAILED
    assert code(sim, commit="c2") is Code.FAILED
    assert code(sim, commit="c1") is Code.DONE


def test_a_commit_that_was_skipped_is_done_unless_it_declared_something_else() -> None:
    sim = running()
    from_git(sim, "c1", "c1")
    sim.deploy("shop", {"web": (web(), "b")})
    from_git(sim, "c4", "c4", "c3", "c2", "c1")
    status = RepositoryStatus(
        name="main",
        commit="c4",
        ancestors=("c3", "c2", "c1"),
        skipped={"c3": ("other",), "c2": ("shop",)},
    )
    sim.write(status)
    assert code(sim, commit="c3") is Code.NOT_YET
    assert code(sim, commit="c2") is Code.SUPERSEDED
    sim.advance(20)
    assert code(sim, commit="c3") is Code.DONE
    assert code(sim, commit="c2") is Code.SUPERSEDED


def test_an_unknown_stack_is_waited_for_unless_its_file_was_refused() -> None:
    sim = Simulation(1)
    assert code(sim, commit="c1") is Code.NOT_YET
    sim.write(
        RepositoryStatus(
            name="main", commit="c1", files={"s.yml": "shop"}, problems=("s.yml:1:1: no",)
        )
    )
    assert code(sim, commit="c1") is Code.FAILED
    assert code(sim, commit="c2") is Code.NOT_YET


def test_a_removed_stack_is_gone() -> None:
    sim = running()
    sim.remove("shop")
    assert gone(sim.world, "shop").code is Code.NOT_YET
    assert code(sim) is Code.SUPERSEDED
    sim.advance(20)
    assert gone(sim.world, "shop").code is Code.DONE
    assert sim.world.count(Release) == 0


def test_a_stack_that_is_declared_again_is_not_on_its_way_out() -> None:
    assert gone(running().world, "shop").code is Code.DONE


def test_an_adopted_stack_is_waited_for_until_its_repository_has_deployed_it() -> None:
    sim = running()
    sim.write(RepositoryStatus(name="main", commit="c1"))
    head = sim.world.get(Stack, "shop")
    assert head is not None
    sim.write(msgspec.structs.replace(head, owner="repo:main"))
    assert code(sim, commit="c1") is Code.NOT_YET
    from_git(sim, "c1", "c1")
    assert code(sim, commit="c1") is Code.DONE


def test_a_commit_that_declares_another_owners_stack_has_failed() -> None:
    sim = running()
    status = RepositoryStatus(name="main", commit="c1", files={"s.yml": "shop"})
    sim.write(msgspec.structs.replace(status, problems=("s.yml: shop is owned by cli.",)))
    assert code(sim, commit="c1") is Code.FAILED
