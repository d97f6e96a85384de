"""The deployer: digests once, what fails stays as it is, stale plans, conflicts."""

import re
from dataclasses import replace
from typing import Any

import pytest

from stackd.core.model.container import Grant, Resources
from stackd.core.model.ids import RevisionId
from stackd.core.model.record import Changes, Delete, Put, ref
from stackd.core.model.release import (
    ContentHead,
    ContentKind,
    Digest,
    Freeze,
    Release,
    Revision,
    Stack,
)
from stackd.core.model.rollout import ServiceState
from stackd.core.model.stack import ContentSpec, StackSpec
from stackd.core.model.strategy import Strategy, StrategyKind
from stackd.errors import Conflict, Refused, Unavailable
from stackd.manager.contents import Contents, NewContent
from stackd.manager.deployer import Deployer
from stackd.manager.requests import Deploy
from stackd.store.records import RECORDS
from stackd.store.seal import Sealer
from stackd.store.tables import Fence
from tests.fakes.harness import Harness
from tests.fakes.stacks import FakeResolver, digest, head, node, service, stack
from tests.unit.core.foresight.test_simulate import running

A, B = digest("a"), digest("b")


def request(spec: StackSpec, **fields: object) -> Deploy:
    base: dict[str, object] = {"contents": {}, "owner": "cli", "by": "root@local"}
    return Deploy(spec=spec, **{**base, **fields})  # type: ignore[arg-type]


def deployer(on: Harness, resolver: FakeResolver, tables: "Contended | None" = None) -> Deployer:
    contents = Contents(on.context, Sealer(b"k" * 32))
    given: Any = tables or on.tables
    return Deployer(replace(on.context, tables=given), contents, resolver)


def image_of(on: Harness, service: str = "web", name: str = "shop") -> str:
    release = on.world.release(name)
    assert release is not None
    revision = on.world.get(Revision, f"{name}/{service}/{release.services[service].revision}")
    assert revision is not None
    return revision.container.image


async def test_a_stack_becomes_declared_in_one_release() -> None:
    async with Harness() as on:
        await on.put(*node())
        done = await deployer(on, FakeResolver({"web:1": A})).deploy(request(stack(service())))
        await on.settle()
        assert (done.release, done.changed) == (1, True)
        assert head(on.world).owner == "cli"
        assert image_of(on) == f"web@{A}"
        assert [e.principal for e in on.events("release.created")] == ["root@local"]


async def test_a_change_of_a_frozen_stack_is_planned_and_declared_with_a_note() -> None:
    async with Harness() as on:
        await on.put(*node())
        one = deployer(on, FakeResolver({"web:1": A}))
        until = on.now + 60
        await on.put(Freeze(reason="the fair", by="ann", at=on.now, until=until))
        [note] = (await one.plan(request(stack(service())))).notes
        assert note.startswith("shop is frozen with all stacks by ann until ")
        assert note.endswith("Z: the fair; rollouts wait.")
        done = await one.deploy(request(stack(service())))
        assert (done.changed, done.notes) == (True, (note,))
        await on.settle()
        assert (await one.plan(request(stack(service())))).notes == ()


async def test_the_same_again_changes_nothing() -> None:
    async with Harness() as on:
        await on.put(*node())
        one = deployer(on, FakeResolver({"web:1": A}))
        await one.deploy(request(stack(service())))
        await on.settle()
        before = on.store.revision
        again = await one.deploy(request(stack(service())))
        assert (again.release, again.changed, on.store.revision) == (1, False, before)


async def test_a_tag_is_resolved_once_until_its_string_changes_or_pull() -> None:
    async with Harness() as on:
        await on.put(*node())
        resolver = FakeResolver({"web:1": A, "web:2": A, "db:1": A}, local=False)
        one = deployer(on, resolver)
        await one.deploy(request(stack(service(), service("db", "db:1"))))
        await on.settle()
        resolver.known["web:1"] = B
        resolver.resolved.clear()
        await one.deploy(request(stack(service(), service("db", "db:1", replicas=2))))
        await on.settle()
        assert resolver.resolved == []
        assert image_of(on) == f"web@{A}"
        pulled = await one.deploy(request(stack(service(), service("db", "db:1")), pull=True))
        await on.settle()
        assert sorted(resolver.resolved) == ["db:1", "web:1"]
        assert pulled.changed
        assert image_of(on) == f"web@{B}"
        resolver.resolved.clear()
        await one.deploy(request(stack(service(image="web:2"), service("db", "db:1"))))
        assert resolver.resolved == ["web:2"]


async def test_one_image_of_many_services_is_asked_for_once() -> None:
    async with Harness() as on:
        await on.put(*node())
        resolver = FakeResolver({"web:1": A})
        await deployer(on, resolver).deploy(request(stack(service("a"), service("b"))))
        assert resolver.resolved == ["web:1"]


async def test_a_local_name_that_moved_is_told_and_stays() -> None:
    async with Harness() as on:
        await on.put(*node())
        resolver = FakeResolver({"web:1": A})
        one = deployer(on, resolver)
        await one.deploy(request(stack(service())))
        await on.settle()
        resolver.known["web:1"] = B
        again = await one.deploy(request(stack(service())))
        assert not again.changed
        [note] = again.notes
        assert "--pull" in note
        assert note.startswith("shop/web: web:1 now is sha256:bbbb")
        assert (await one.plan(request(stack(service())))).notes == again.notes


async def test_a_registry_name_is_not_asked_again() -> None:
    async with Harness() as on:
        await on.put(*node())
        resolver = FakeResolver({"web:1": A}, local=False)
        one = deployer(on, resolver)
        await one.deploy(request(stack(service())))
        await on.settle()
        resolver.known["web:1"] = Unavailable("The registry does not answer.")
        resolver.resolved.clear()
        assert (await one.deploy(request(stack(service(replicas=2))))).changed
        assert resolver.resolved == []


async def test_a_service_whose_image_is_missing_leaves_the_others() -> None:
    async with Harness() as on:
        await on.put(*node())
        down = Unavailable("The registry does not answer.")
        resolver = FakeResolver({"web:1": A, "db:1": A, "db:2": down, "new:1": down})
        one = deployer(on, resolver)
        await one.deploy(request(stack(service(), service("db", "db:1"))))
        await on.settle()
        wanted = stack(service(replicas=2), service("db", "db:2"), service("new", "new:1"))
        done = await one.deploy(request(wanted))
        await on.settle()
        assert done.failed == {
            "db": "shop/db: image db:2: The registry does not answer.",
            "new": "shop/new: image new:1: The registry does not answer.",
        }
        release = on.world.release("shop")
        assert release is not None
        assert sorted(release.services) == ["db", "web"]
        assert release.services["web"].spec.replicas == 2
        assert image_of(on, "db") == f"db@{A}"


async def test_nothing_resolved_is_unavailable_and_writes_nothing() -> None:
    async with Harness() as on:
        await on.put(*node())
        resolver = FakeResolver({"web:1": Unavailable("The registry does not answer.")})
        with pytest.raises(Unavailable, match="shop/web: image web:1: The registry"):
            await deployer(on, resolver).deploy(request(stack(service())))
        assert on.world.get(Stack, "shop") is None


async def test_an_image_that_cannot_be_fetched_counts_as_missing() -> None:
    async with Harness() as on:
        await on.put(*node())
        resolver = FakeResolver({"web:1": A, "db:1": B})
        resolver.absent.add(f"db@{B}")
        done = await deployer(on, resolver).deploy(request(stack(service(), service("db", "db:1"))))
        assert list(done.failed) == ["db"]
        planned = await deployer(on, resolver).plan(request(stack(service("db", "db:1"))))
        assert planned.failed == {}, "a plan fetches nothing"


async def test_a_plan_writes_nothing_and_its_hash_is_taken_back() -> None:
    async with Harness() as on:
        await on.put(*node())
        one = deployer(on, FakeResolver({"web:1": A}))
        before = on.store.revision
        planned = await one.plan(request(stack(service())))
        assert on.store.revision == before
        done = await one.deploy(request(stack(service()), plan_hash=planned.plan.hash))
        assert done.changed
        assert done.plan.hash == planned.plan.hash


async def test_a_plan_is_played_without_writing() -> None:
    async with Harness() as on:
        await on.put(*node())
        one = deployer(on, FakeResolver({"web:1": A}))
        before = on.store.revision
        played = await one.simulate(await one.plan(request(stack(service()))))
        assert on.store.revision == before
        assert [s.text.partition(":")[0] for s in played.steps] == ["started", "completed"]
        assert (played.duration, played.blocked) == (10, ())
        assert played.peaks[0].node == "node1"


async def test_a_stale_plan_is_refused() -> None:
    async with Harness() as on:
        await on.put(*node())
        one = deployer(on, FakeResolver({"web:1": A}))
        await one.deploy(request(stack(service())))
        await on.settle()
        planned = await one.plan(request(stack(service(replicas=2))))
        await on.put(ServiceState(stack="shop", service="web", stable=RevisionId("moved")))
        with pytest.raises(Refused, match="is stale"):
            await one.deploy(request(stack(service(replicas=2)), plan_hash=planned.plan.hash))
        assert head(on.world).release == 1


async def test_an_infeasible_plan_is_refused_with_its_reasons() -> None:
    async with Harness() as on:
        with pytest.raises(Refused, match="0 of 1 tasks of shop/web can be placed"):
            await deployer(on, FakeResolver({"web:1": A})).deploy(request(stack(service())))
        assert on.world.get(Release, "shop/00000001") is None


async def test_rollouts_that_would_wait_for_each_other_in_vain_are_refused() -> None:
    """What only playing them shows: each has room by itself."""
    room = Resources(reserve_cpus=0.6)
    late = Strategy(kind=StrategyKind.BLUE_GREEN, scale_down_delay=3600)
    fields: dict[str, Any] = {"replicas": 2, "container_resources": room, "strategy": late}
    ran = running(*(service(name, **fields) for name in ("a", "b")), nodes=1).world
    async with Harness() as on:
        for kind in RECORDS:
            for found in ran.all(kind):
                await on.put(found)
        changed = stack(*(service(name, "web:2", **fields) for name in ("a", "b")))
        one = deployer(on, FakeResolver({"web:2": B}))
        with pytest.raises(Refused, match="played in advance, shop/b is aborted"):
            await one.deploy(request(changed))


class Contended:
    """The tables of a store in which somebody else is faster `times` times."""

    def __init__(self, on: Harness, times: int) -> None:
        self.world = on.world
        self.times = times
        self._tables = on.tables

    async def commit(self, changes: Changes, fence: Fence | None = None) -> int:
        self.times -= 1
        if self.times >= 0:
            raise Conflict("Somebody else was faster.")
        return await self._tables.commit(changes, fence)


class Forgetful(Contended):
    """The tables of a store whose unused revisions go right before a release is written."""

    async def commit(self, changes: Changes, fence: Fence | None = None) -> int:
        released = any(
            isinstance(c, Put) and isinstance(c.record, Release) for c in changes.changes
        )
        self.times -= released
        if released and self.times >= 0:
            prepared = self._tables.prepare(changes, fence)
            for revision in list(self.world.all(Revision)):
                gone = Delete(ref=ref(Revision, revision.key))
                await self._tables.commit(Changes(changes=(gone,)))
            return await self._tables.submit(prepared)
        return await self._tables.commit(changes, fence)


async def test_a_revision_that_is_forgotten_before_its_release_is_written_anew() -> None:
    async with Harness() as on:
        await on.put(*node())
        one = deployer(on, FakeResolver({"web:1": A}), Forgetful(on, 1))
        assert (await one.deploy(request(stack(service())))).changed
        assert image_of(on) == f"web@{A}"
        assert len(on.events("release.created")) == 1


@pytest.mark.parametrize(("times", "done"), [(0, True), (4, True), (5, False)])
async def test_a_conflict_is_looked_at_again_a_few_times(times: int, done: bool) -> None:
    async with Harness() as on:
        await on.put(*node())
        one = deployer(on, FakeResolver({"web:1": A}), Contended(on, times))
        if done:
            assert (await one.deploy(request(stack(service())))).changed
        else:
            with pytest.raises(Conflict, match="changing too fast"):
                await one.deploy(request(stack(service())))


async def test_contents_are_kept_before_the_release_that_names_them() -> None:
    async with Harness() as on:
        await on.put(*node())
        grant = Grant(name="key", target="/run/secrets/key")
        spec = stack(
            service(container_secrets=(grant,)), secrets={"key": ContentSpec(name="shop_key")}
        )
        value = {"secret/key": b"hunter2"}
        done = await deployer(on, FakeResolver({"web:1": A})).deploy(request(spec, contents=value))
        await on.settle()
        found = on.world.get(ContentHead, "secret/shop_key")
        assert found is not None
        assert found.stack == "shop"
        release = on.world.release("shop")
        assert release is not None
        revision = on.world.get(Revision, f"shop/web/{release.services['web'].revision}")
        assert revision is not None
        assert revision.container.secrets[0].version == found.version
        shown = [e.text for e in on.events()] + [repr(done), repr(request(spec, contents=value))]
        assert not any("hunter2" in text for text in shown)
        assert not any(b"hunter2" in item.value for item in on.store.keys.values())


async def test_an_external_content_must_exist() -> None:
    async with Harness() as on:
        await on.put(*node())
        grant = Grant(name="key", target="/run/secrets/key")
        spec = stack(
            service(container_secrets=(grant,)),
            secrets={"key": ContentSpec(name="shared", external=True)},
        )
        one = deployer(on, FakeResolver({"web:1": A}))
        with pytest.raises(Refused, match="There is no secret shared"):
            await one.deploy(request(spec))
        contents = Contents(on.context, Sealer(b"k" * 32))
        await contents.put(NewContent(ContentKind.SECRET, "shared", b"v", "root@local"))
        await on.settle()
        assert (await one.deploy(request(spec))).changed


async def test_removal_is_asked_for_once_and_told() -> None:
    async with Harness() as on:
        await on.put(*node())
        one = deployer(on, FakeResolver({"web:1": A}))
        with pytest.raises(Refused, match=re.escape("There is no stack shop.")):
            await one.remove("shop", "root@local")
        await one.deploy(request(stack(service())))
        await on.settle()
        await one.remove("shop", "root@local", volumes=True)
        await on.settle()
        assert (head(on.world).removing, head(on.world).remove_volumes) == (True, True)
        assert [e.text for e in on.events("stack.removing")] == [
            "shop is being removed, with its volumes"
        ]


async def test_digests_are_recorded_with_the_string_they_came_from() -> None:
    async with Harness() as on:
        await on.put(*node())
        await deployer(on, FakeResolver({"web:1": A})).deploy(request(stack(service())))
        await on.settle()
        kept = on.world.get(Digest, "shop/web")
        assert kept == Digest(stack="shop", service="web", image="web:1", digest=A, local=True)
