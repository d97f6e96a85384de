"""Which commits are refused, since which one, and what came before it."""

import msgspec
import pytest

from stackd.core.model.ids import RevisionId
from stackd.core.model.release import Hold, Release, ServiceRelease, Stack
from stackd.core.model.source import RepositoryStatus, Revert
from stackd.core.model.world import World
from stackd.core.rollout.refused import RefusedCommit, refused, words
from tests.fakes.stacks import put, service, stack

STATUS = RepositoryStatus(name="ops", commit="c4", ancestors=("c3", "c2", "c1"))
HOLD = Hold(stack="shop", service="web", revision=RevisionId("bad"), reason="it failed", at=1.0)


def world(*revisions: str, status: RepositoryStatus = STATUS, owner: str = "repo:ops") -> World:
    """Release N is of commit cN and declares the Nth revision; the last is the current one."""
    found = put(World(), status)
    for number, revision in enumerate(revisions, 1):
        spec = stack(service())
        part = ServiceRelease(spec=spec.services["web"], revision=RevisionId(revision))
        release = Release(
            stack="shop", number=number, spec=spec, services={"web": part}, commit=f"c{number}"
        )
        put(found, release)
    return put(found, Stack(name="shop", owner=owner, release=len(revisions)))


def commits(found: World) -> list[tuple[str, str]]:
    return [(one.commit, one.good) for one in refused(found, "ops")]


def test_a_held_revision_refuses_the_commit_that_declared_it_first() -> None:
    assert refused(put(world("good", "bad", "bad"), HOLD), "ops") == [
        RefusedCommit(commit="c2", good="c1", reason="shop/web: it failed", object="shop")
    ]


@pytest.mark.parametrize(
    ("revisions", "to", "undone"),
    [
        (("good", "bad"), 1, [("c2", "c1")]),
        (("good", "bad", "bad"), 1, [("c2", "c1")]),
        (("good", "worse", "bad"), 1, []),
        (("good", "worse", "bad"), 2, [("c3", "c2")]),
    ],
    ids=["by one", "over what changed nothing", "over another", "not over another"],
)
def test_what_a_stack_has_left_is_refused_if_undoing_it_brings_what_runs(
    revisions: tuple[str, ...], to: int, undone: list[tuple[str, str]]
) -> None:
    found = put(world(*revisions), HOLD)
    put(found, Stack(name="shop", owner="repo:ops", release=to, back=True))
    assert commits(found) == undone


@pytest.mark.parametrize(
    ("revisions", "owner"),
    [(("bad", "good"), "repo:ops"), (("good", "bad"), "cli"), (("good", "bad"), "repo:other")],
    ids=["no longer declared", "by hand", "of another"],
)
def test_others_are_not(revisions: tuple[str, ...], owner: str) -> None:
    assert commits(put(world(*revisions, owner=owner), HOLD)) == []


def test_the_first_commit_has_nothing_to_go_back_to() -> None:
    assert commits(put(world("bad"), HOLD)) == []


def test_commits_that_were_not_processed_are_undone_with_it() -> None:
    status = msgspec.structs.replace(STATUS, skipped={"c3": ("shop",), "c2": ()})
    found = put(world("good", "x", "x", "bad", status=status), HOLD)
    assert commits(found) == [("c4", "c1")]


def test_invalid_files_refuse_the_commit_since_which_they_are() -> None:
    status = msgspec.structs.replace(
        STATUS,
        invalid={"a.yml": "c3", "b.yml": "c3", "old.yml": "", "gone.yml": "c0"},
        problems=("a.yml:1:2: bad", "b.yml: worse"),
    )
    [found] = refused(put(World(), status), "ops")
    assert (found.commit, found.good, found.object) == ("c3", "c2", "ops")
    assert found.reason == "a.yml:1:2: bad"


def test_an_unknown_repository_has_none() -> None:
    assert refused(World(), "ops") == []


def test_in_words() -> None:
    made = Revert(
        repository="ops", commit="c" * 40, reason="it failed", branch="undo", revert="d" * 40
    )
    assert words(made) == (
        "commit cccccccccccc is refused: it failed; its revert dddddddddddd was pushed to the "
        "branch undo"
    )
    failed = msgspec.structs.replace(made, revert="", problem="No access.")
    assert words(failed).endswith("; no revert was pushed: No access.")
