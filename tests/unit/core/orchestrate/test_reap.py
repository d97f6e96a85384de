"""What is forgotten, and what is kept."""

from stackd.core.model.container import ContainerSpec, Grant
from stackd.core.model.event import Event
from stackd.core.model.ids import RevisionId, TaskId
from stackd.core.model.record import Delete
from stackd.core.model.release import (
    ContentHead,
    ContentKind,
    ContentVersion,
    Release,
    Revision,
)
from stackd.core.model.stack import ServiceSpec
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskStatus
from stackd.core.orchestrate import reap
from stackd.manager.reaper import UNUSED
from tests.fakes.simulation import Simulation, web


def ended(sim: Simulation, number: int, slot: str = "1", seen: float = 0) -> None:
    task_id = TaskId(f"t{number:04d}")
    sim.write(
        Task(
            id=task_id,
            stack="shop",
            service="web",
            slot=slot,
            revision=RevisionId("a"),
            created=number,
        ),
        TaskStatus(id=task_id, state=TaskState.FAILED, seen=seen or sim.now),
    )


def forgotten(sim: Simulation, now: float | None = None) -> set[str]:
    found = reap.tasks(sim.world, "shop", "web", now or sim.now, sim.ids.__next__)
    changes = [c for g in found.commits for c in g.changes if isinstance(c, Delete)]
    return {c.ref.key for c in changes if c.ref.table == Task.TABLE}


def test_the_last_five_of_each_slot_are_kept() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(), "a")})
    for number in range(8):
        ended(sim, number)
    assert forgotten(sim) == {"t0000", "t0001", "t0002"}


def test_those_of_a_slot_that_is_gone_are_kept_for_an_hour() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(), "a")})
    ended(sim, 1, slot="2")
    assert forgotten(sim) == set()
    assert forgotten(sim, sim.now + 3601) == {"t0001"}


def test_events_are_bounded() -> None:
    sim = Simulation(1)
    for number in range(10_499):
        event = Event(id=f"{number:06d}", at=0, kind="a.b", object="x", principal="p")
        sim.world.apply(event, 1)
    assert reap.events(sim.world, 0, sim.ids.__next__).commits == ()
    sim.world.apply(Event(id="999999", at=0, kind="a.b", object="x", principal="p"), 1)
    commits = reap.events(sim.world, 0, sim.ids.__next__).commits
    keys = [c.ref.key for g in commits for c in g.changes if isinstance(c, Delete)]
    assert keys == [f"{number:06d}" for number in range(500)]
    assert all(len(g.changes) <= 90 for g in commits)


def test_ten_releases_are_kept_and_older_ones_only_for_what_still_runs() -> None:
    sim = Simulation(1)
    for number in range(14):
        revision = "a" if number == 1 else f"r{number}"
        sim.deploy("shop", {"web": (web(), revision)})
    ended(sim, 1)
    assert reap.unused(sim.world, "shop") == {"shop/web/r0", "shop/web/r2", "shop/web/r3"}
    spare = {"shop/web/r0"}
    commits = reap.releases(sim.world, "shop", spare, 0, sim.ids.__next__).commits
    gone = {c.ref for g in commits for c in g.changes if isinstance(c, Delete)}
    assert {r.key for r in gone if r.table == Release.TABLE} == {
        f"shop/{number:08d}" for number in (1, 3, 4)
    }
    assert {r.key for r in gone if r.table == Revision.TABLE} == spare


def version(name: str, number: str) -> ContentVersion:
    return ContentVersion(
        kind=ContentKind.SECRET, name=name, version=number, value=b"sealed", size=6
    )


def versions(sim: Simulation) -> set[str]:
    return {v.key.removeprefix("secret/") for v in sim.world.all(ContentVersion)}


def with_key(number: str) -> ServiceSpec:
    grant = Grant(name="key", target="/run/secrets/key", version=number)
    return web(container=ContainerSpec(image="web", secrets=(grant,)))


def test_contents_go_with_the_last_revision_that_grants_them() -> None:
    sim = Simulation(1)
    for number in range(1, 15):
        sim.write(version("shop_key", f"v{number}"))
        sim.write(
            ContentHead(
                kind=ContentKind.SECRET, name="shop_key", version=f"v{number}", stack="shop"
            )
        )
        sim.deploy("shop", {"web": (with_key(f"v{number}"), f"r{number}")})
        sim.advance(60)
    kept = {f"shop_key/v{number}" for number in range(5, 15)}
    sim.advance(2 * UNUSED)
    assert versions(sim) == kept, "those that one of the last ten releases names"


def test_the_current_version_is_kept_also_when_nothing_uses_it() -> None:
    sim = Simulation(1)
    sim.write(version("key", "v1"), version("key", "v2"))
    sim.write(ContentHead(kind=ContentKind.SECRET, name="key", version="v2"))
    sim.advance(UNUSED - 1)
    assert versions(sim) == {"key/v1", "key/v2"}, "its revision may be on its way"
    sim.advance(2)
    assert versions(sim) == {"key/v2"}
