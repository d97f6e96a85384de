"""`ls`, `scale`, `rm`, `adopt`."""

from collections.abc import Mapping

import msgspec
import pytest

from stackd.core.model.api import AdoptRequest, NameRequest, RemoveRequest, ScaleRequest
from stackd.core.model.release import Override
from stackd.core.model.source import Repository, RepositoryStatus
from stackd.core.model.stack import Mode
from stackd.errors import Refused
from stackd.manager.api.stacks import StackApi
from stackd.manager.contents import Contents
from stackd.manager.deployer import Deployer
from stackd.store.seal import Sealer
from tests.fakes.harness import Harness
from tests.fakes.stacks import FakeResolver, head, service, stack
from tests.unit.manager.api.cases import CALLER, declared, running


def api(on: Harness) -> StackApi:
    contents = Contents(on.context, Sealer(b"k" * 32))
    deployer = Deployer(on.context, contents, FakeResolver({}))
    return StackApi(on.context, deployer)


async def scaled(on: Harness, replicas: int | None) -> str:
    answer = await api(on).scale(ScaleRequest(name="shop/web", replicas=replicas), CALLER)
    await on.settle()
    return answer.text


def override(on: Harness) -> Override | None:
    return on.world.get(Override, "shop/web")


async def test_ls_counts_what_is_ready_and_wanted() -> None:
    async with Harness() as on:
        await running(on)
        [row] = (await api(on).list(NameRequest(), CALLER)).stacks
    assert (row.stack, row.owner, row.release) == ("shop", "cli", 1)
    assert (row.services, row.ready, row.desired) == (2, 2, 3)


async def test_scaling_is_kept_beside_what_is_declared_until_it_is_the_same() -> None:
    async with Harness() as on:
        await running(on)
        assert await scaled(on, 5) == "shop/web: 5 instead of the declared 2."
        found = override(on)
        assert found is not None
        assert (found.replicas, found.declared, found.by) == (5, 2, "root@local")
        assert await scaled(on, 0) == "shop/web: 0 instead of the declared 2."
        assert await scaled(on, None) == "shop/web is back at the declared 2."
        assert override(on) is None
        await scaled(on, 5)
        await scaled(on, 2)
        assert override(on) is None
        assert [e.principal for e in on.events("service.scaled")] == ["root@local"] * 5


@pytest.mark.parametrize("replicas", [-1, 100_001, 10**20])
async def test_a_number_that_no_stack_file_may_name_is_refused(replicas: int) -> None:
    async with Harness() as on:
        await running(on)
        with pytest.raises(Refused, match="out of range: 0 to 100000"):
            await scaled(on, replicas)
        assert override(on) is None
        assert on.events("service.scaled") == []


async def test_a_global_service_and_unknown_ones_are_not_scaled() -> None:
    async with Harness() as on:
        await declared(on, stack(service(mode=Mode.GLOBAL)))
        with pytest.raises(Refused, match="is global"):
            await scaled(on, 2)
        with pytest.raises(Refused, match="no service shop/nosuch"):
            await api(on).scale(ScaleRequest(name="shop/nosuch", replicas=1), CALLER)
        assert override(on) is None


@pytest.mark.parametrize("volumes", [True, False])
async def test_a_stack_of_the_command_line_is_removed(volumes: bool) -> None:
    async with Harness() as on:
        await running(on)
        await api(on).remove(RemoveRequest(name="shop", volumes=volumes), CALLER)
        await on.settle()
        assert head(on.world).removing
        assert head(on.world).remove_volumes is volumes


async def test_a_stack_of_a_repository_is_not_removed_and_its_owner_is_named() -> None:
    async with Harness() as on:
        await declared(on, stack(service()), owner="repo:ops")
        with pytest.raises(Refused, match="owned by repo:ops") as error:
            await api(on).remove(RemoveRequest(name="shop"), CALLER)
        assert "stackd repo rm ops" in error.value.remedy
        assert not head(on.world).removing


async def test_adoption_changes_the_owner_and_has_the_repository_look() -> None:
    changed: Mapping[str, str] = {"problem": "bad", "seen_commit": "c", "override": "ann"}
    async with Harness() as on:
        await running(on)
        await on.put(msgspec.structs.replace(head(on.world), **changed))
        with pytest.raises(Refused, match="no repository ops"):
            await api(on).adopt(AdoptRequest(name="shop", repo="ops"), CALLER)
        await on.put(Repository(name="ops", url="https://git.example/x"))
        await api(on).adopt(AdoptRequest(name="shop", repo="ops"), CALLER)
        await on.settle()
        found = head(on.world)
        assert found.owner == "repo:ops"
        assert {key: getattr(found, key) for key in changed} == dict.fromkeys(changed, "")
        status = on.world.get(RepositoryStatus, "ops")
        assert status is not None
        assert status.sync_requested == 1
