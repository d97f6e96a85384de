"""What is written for a plan."""

import msgspec
import pytest

from stackd.core.model.event import Event
from stackd.core.model.record import Changes, Delete, Put, Record, ref
from stackd.core.model.release import Digest, Override, Release, Revision, Stack
from stackd.core.model.stack import StackSpec
from stackd.core.model.world import World
from stackd.core.plan import records
from stackd.core.plan.make import make_plan
from stackd.errors import Conflict
from tests.fakes.stacks import NOW, commit, declare, deployed, digest, head, put, service, stack

STAMP = records.Stamp(at=NOW, by="root@local", event="e1", commit="c" * 40, path="a.yml")


def written(changes: Changes, kind: type[Record]) -> list[Record]:
    found = [c.record for c in changes.changes if isinstance(c, Put)]
    return [record for record in found if isinstance(record, kind)]


def test_one_commit_declares_release_head_and_event() -> None:
    plan = make_plan(World(), declare(stack(service()), owner="repo:ops"))
    changes = records.release(World(), plan, STAMP)
    [release] = written(changes, Release)
    [found] = written(changes, Stack)
    [event] = written(changes, Event)
    assert isinstance(release, Release)
    assert isinstance(found, Stack)
    assert isinstance(event, Event)
    assert (release.number, release.commit, release.by, release.cause) == (
        *(1, "c" * 40, "root@local", "e1"),
    )
    assert (found.owner, found.release, found.path) == ("repo:ops", 1, "a.yml")
    assert found.commit == found.seen_commit == "c" * 40
    assert event.text.startswith("release 1: create network shop_default; create shop/web")


def test_preparation_writes_only_what_is_new_in_small_commits() -> None:
    spec = stack(*(service(f"s{n}") for n in range(50)))
    plan = make_plan(World(), declare(spec))
    batches = list(records.preparation(World(), plan, ()))
    assert [len(b.changes) for b in batches] == [40, 10]
    world = commit(World(), plan)
    assert list(records.preparation(world, plan, ())) == []


def test_a_release_relies_on_revisions_that_no_release_names_and_they_must_be_there() -> None:
    old, new = stack(service(), service("db")), stack(service(replicas=3), service("db"))
    plan = make_plan(World(), declare(old))
    with pytest.raises(Conflict, match="forgotten meanwhile"):
        records.relied(World(), plan)
    world = put(World(), *plan.revisions)
    assert records.relied(world, plan) == tuple(ref(Revision, r.key) for r in plan.revisions)
    world = commit(World(), plan)
    assert records.relied(world, make_plan(world, declare(new))) == ()
    many = stack(*(service(f"s{n}") for n in range(100)))
    plan = make_plan(World(), declare(many))
    assert len(records.relied(put(World(), *plan.revisions), plan)) == records.RELIED


def test_digests_are_written_when_they_differ() -> None:
    plan = make_plan(World(), declare(stack(service())))
    kept = Digest(stack="shop", service="web", image="web:1", digest=digest("a"))
    moved = msgspec.structs.replace(kept, digest=digest("b"))
    world = put(commit(World(), plan), kept)
    assert list(records.preparation(world, plan, (kept,))) == []
    [batch] = records.preparation(world, plan, (moved,))
    assert len(written(batch, Digest)) == 1
    assert written(batch, Revision) == []


def test_a_deployment_by_hand_over_a_repository_keeps_its_commit_until_the_next() -> None:
    world = deployed(stack(service()), owner="repo:ops")
    plan = make_plan(world, declare(stack(service(replicas=2)), override=True))
    commit(world, plan)
    assert head(world).override == "root@local"
    again = make_plan(world, declare(stack(service(replicas=3)), owner="repo:ops"))
    commit(world, again, sha="d" * 40)
    assert head(world).override == ""
    assert head(world).commit == "d" * 40


def test_an_override_that_ends_is_deleted_with_the_release() -> None:
    world = deployed(stack(service(replicas=2)))
    put(world, Override(stack="shop", service="web", replicas=9, declared=2, by="r", at=NOW))
    plan = make_plan(world, declare(stack(service(replicas=3))))
    changes = records.release(world, plan, STAMP)
    assert [c.ref.table for c in changes.changes if isinstance(c, Delete)] == [Override.TABLE]


@pytest.mark.parametrize(("sha", "problem"), [("a", "a.yml: bad"), ("b", "")])
def test_seen_is_noted_once(sha: str, problem: str) -> None:
    world = deployed(stack(service()))
    noted = records.seen(world, "shop", sha, problem)
    assert len(noted.changes) == 1
    for change in noted.changes:
        assert isinstance(change, Put)
        put(world, change.record)
    assert records.seen(world, "shop", sha, problem).changes == ()
    assert (head(world).seen_commit, head(world).problem) == (sha, problem)
    assert records.seen(world, "nosuch", sha).changes == ()


def numbered(world: World, *numbers: int, current: int) -> None:
    """Releases of a stack, one of which is the current one."""
    for revision, number in enumerate(numbers, 1):
        spec = StackSpec(name="shop", services={})
        world.apply(Release(stack="shop", number=number, spec=spec, services={}), revision)
    world.apply(Stack(name="shop", owner="cli", release=current), 100)


def test_a_release_number_is_never_given_twice_even_after_a_rollback() -> None:
    world = World()
    assert records.next_number(world, "shop") == 1
    numbered(world, 1, 2, 3, current=1)
    assert records.next_number(world, "shop") == 4


def test_a_plan_after_a_rollback_is_made_against_the_current_release() -> None:
    world = World()
    numbered(world, 1, 2, current=1)
    plan = make_plan(world, declare(stack(service())))
    assert plan.base == 1
