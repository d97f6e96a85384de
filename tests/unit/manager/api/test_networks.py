"""`network|volume ls|inspect|rm`."""

import asyncio

import msgspec
import pytest

from stackd.core.model.api import NameRequest
from stackd.core.model.container import Mount, MountKind
from stackd.core.model.ids import NetworkId
from stackd.core.model.network import Network, VolumeBinding
from stackd.core.model.record import Changes, Delete, ref
from stackd.core.model.stack import VolumeSpec
from stackd.errors import Refused
from stackd.manager.api.networks import NetworkApi, VolumeApi
from tests.fakes.harness import Harness
from tests.fakes.stacks import NOW, node, service, stack
from tests.unit.manager.api.cases import CALLER, SHARED, declared, running

LEFT = Network(id=NetworkId("net2"), name="left_default", vni=2, subnet="10.0.1.0/24")
DATA = VolumeBinding(name="shop_data", node=f"{1:012d}", stack="shop", created=NOW)


async def test_networks_tell_how_full_they_are() -> None:
    async with Harness() as on:
        await running(on)
        api = NetworkApi(on.tables, None)
        [row] = (await api.list(NameRequest(), CALLER)).networks
        assert (row.name, row.used, row.size) == ("shop_default", 2, 223)
        for name in (SHARED.name, SHARED.id):
            assert (await api.inspect(NameRequest(name=name), CALLER)).networks == (row,)


async def test_a_network_that_is_declared_or_used_stays() -> None:
    async with Harness() as on:
        await running(on)
        with pytest.raises(Refused, match="shop_default is used by shop"):
            await NetworkApi(on.tables, None).remove(NameRequest(name="shop_default"), CALLER)


async def test_a_network_that_was_left_behind_goes() -> None:
    async with Harness() as on:
        await on.put(LEFT)
        api = NetworkApi(on.tables, None)
        await api.remove(NameRequest(name="left_default"), CALLER)
        await on.settle()
        assert (await api.list(NameRequest(), CALLER)).networks == ()
        with pytest.raises(Refused, match="no network left_default"):
            await api.remove(NameRequest(name="left_default"), CALLER)


def volumes(on: Harness) -> VolumeApi:
    return VolumeApi(on.tables, None, on.clock)


async def test_a_volume_that_is_mounted_stays() -> None:
    async with Harness() as on:
        mount = Mount(kind=MountKind.VOLUME, source="data", target="/data")
        declared_volumes = {"data": VolumeSpec(name="shop_data")}
        await declared(on, stack(service(container_mounts=(mount,)), volumes=declared_volumes))
        await on.put(*node(), DATA)
        [row] = (await volumes(on).list(NameRequest(), CALLER)).volumes
        assert (row.name, row.node, row.used_by) == ("shop_data", "node1", ("shop/web",))
        with pytest.raises(Refused, match="is used by shop/web"):
            await volumes(on).remove(NameRequest(name="shop_data"), CALLER)


async def test_a_volume_is_gone_when_its_node_says_so() -> None:
    async with Harness() as on:
        await on.put(*node(), DATA)
        asked = NameRequest(name="shop_data")
        removing = asyncio.ensure_future(volumes(on).remove(asked, CALLER))
        await on.settle()
        kept = on.world.get(VolumeBinding, DATA.key)
        assert kept is not None
        assert kept.removing == on.now
        assert not removing.done()
        await on.tables.commit(Changes(changes=(Delete(ref=ref(VolumeBinding, DATA.key)),)))
        assert (await removing).text == "Removed volume shop_data."
        with pytest.raises(Refused, match="no volume"):
            await volumes(on).inspect(asked, CALLER)


async def test_a_volume_of_another_name_is_not_touched() -> None:
    async with Harness() as on:
        other = msgspec.structs.replace(DATA, name="shop_data2")
        await on.put(*node(), DATA, other)
        with pytest.raises(Refused):
            await volumes(on).remove(NameRequest(name="shop"), CALLER)
        assert all(not v.removing for v in on.world.all(VolumeBinding))
