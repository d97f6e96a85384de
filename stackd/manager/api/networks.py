"""Networks and volumes: list, inspect, remove."""

import asyncio
import ipaddress

import msgspec

from stackd.aio.clock import Clock
from stackd.core.model.api import (
    NameRequest,
    NetworkRow,
    NetworkRows,
    Text,
    VolumeRow,
    VolumeRows,
)
from stackd.core.model.network import Network, ServiceAddresses, VolumeBinding
from stackd.core.model.record import Changes, Delete, Put, ref
from stackd.core.model.release import Release
from stackd.core.model.task import Task
from stackd.core.model.times import rfc3339
from stackd.core.model.world import World
from stackd.errors import Refused, Unknown
from stackd.manager.api import names
from stackd.store.tables import Fence, Tables
from stackd.wire.control import Caller

REMOVED_WITHIN = 10.0
"""Seconds that `volume rm` waits for the nodes; they go on afterwards."""
RESERVED = 33
"""Host numbers that no task gets: the network's own, gateways, broadcast."""


class NetworkApi:
    """Handlers about overlay networks."""

    def __init__(self, tables: Tables, fence: Fence | None) -> None:
        self._tables = tables
        self._fence = fence

    async def list(self, request: NameRequest, caller: Caller) -> NetworkRows:
        """Every network."""
        world = self._tables.world
        return NetworkRows(networks=tuple(_network_row(world, n) for n in world.all(Network)))

    async def inspect(self, request: NameRequest, caller: Caller) -> NetworkRows:
        """One network, by name or id."""
        return NetworkRows(networks=(_network_row(self._tables.world, self._find(request.name)),))

    async def remove(self, request: NameRequest, caller: Caller) -> Text:
        """Remove a network that nothing declares or uses."""
        world = self._tables.world
        network = self._find(request.name)
        users = sorted(
            release.stack
            for release in world.all(Release)
            if world.release(release.stack) is release
            and any(n.name == network.name for n in release.spec.networks.values())
        )
        if users or _used(world, network.id):
            raise Refused(
                f"Network {network.name} is used by {', '.join(users) or 'running tasks'}.",
                "Remove it from these stacks first.",
            )
        gone = Changes(changes=(Delete(ref=ref(Network, network.key)),))
        await self._tables.commit(gone, self._fence)
        return Text(text=f"Removed network {network.name}.")

    def _find(self, name: str) -> Network:
        for network in self._tables.world.all(Network):
            if name in (network.name, network.id):
                return network
        raise Unknown(f"There is no network {name}.", "See: stackd network ls")


def _used(world: World, network: str) -> int:
    tasks = sum(
        network in view.task.addresses
        for task in world.all(Task)
        if (view := world.task(task.id)) is not None and view.live
    )
    return tasks + sum(network in a.vips for a in world.all(ServiceAddresses))


def _network_row(world: World, network: Network) -> NetworkRow:
    return NetworkRow(
        id=network.id,
        name=network.name,
        stack=network.stack,
        subnet=network.subnet,
        vni=network.vni,
        internal=network.internal,
        used=_used(world, network.id),
        size=ipaddress.ip_network(network.subnet).num_addresses - RESERVED,
    )


class VolumeApi:
    """Handlers about named volumes."""

    def __init__(self, tables: Tables, fence: Fence | None, clock: Clock) -> None:
        self._tables = tables
        self._fence = fence
        self._clock = clock

    async def list(self, request: NameRequest, caller: Caller) -> VolumeRows:
        """Every volume on every node."""
        world = self._tables.world
        return VolumeRows(volumes=tuple(_volume_row(world, v) for v in world.all(VolumeBinding)))

    async def inspect(self, request: NameRequest, caller: Caller) -> VolumeRows:
        """One volume, on all nodes that hold it."""
        world = self._tables.world
        found = [v for v in world.all(VolumeBinding) if v.name == request.name]
        if not found:
            raise Unknown(f"There is no volume {request.name}.", "See: stackd volume ls")
        return VolumeRows(volumes=tuple(_volume_row(world, v) for v in found))

    async def remove(self, request: NameRequest, caller: Caller) -> Text:
        """Remove a volume and its data from all nodes; those that are away do it later."""
        world = self._tables.world
        found = [v for v in world.all(VolumeBinding) if v.name == request.name]
        if not found:
            raise Unknown(f"There is no volume {request.name}.", "See: stackd volume ls")
        users = volume_users(world, request.name)
        if users:
            raise Refused(
                f"Volume {request.name} is used by {', '.join(users)}.",
                "Remove it from these stacks first.",
            )
        now = self._clock.now()
        asked = tuple(
            Put(record=msgspec.structs.replace(v, removing=now)) for v in found if not v.removing
        )
        if asked:
            await self._tables.commit(Changes(changes=asked), self._fence)
        left = await self._removed(request.name)
        if left:
            places = ", ".join(left)
            return Text(text=f"Volume {request.name} goes as soon as {places} can remove it.")
        return Text(text=f"Removed volume {request.name}.")

    async def _removed(self, name: str) -> tuple[str, ...]:
        """Wait for the nodes; those that still hold data of the volume."""
        world = self._tables.world
        subscription = self._tables.subscribe(VolumeBinding)
        try:
            async with asyncio.timeout(REMOVED_WITHIN):
                while any(v.name == name for v in world.all(VolumeBinding)):
                    await subscription.next()
        except TimeoutError:
            pass
        finally:
            self._tables.unsubscribe(subscription)
        holders = {v.node for v in world.all(VolumeBinding) if v.name == name}
        return tuple(sorted(names.node_name(world, node) for node in holders))


def volume_users(world: World, name: str) -> list[str]:
    """`STACK/SERVICE` that mount the volume and are declared or still have tasks."""
    users: set[str] = set()
    for release in world.all(Release):
        local = {key for key, spec in release.spec.volumes.items() if spec.name == name}
        current = world.release(release.stack) is release
        for service, part in release.services.items():
            if not any(m.source in local for m in part.spec.container.mounts):
                continue
            if current or any(t.live for t in world.tasks_of(release.stack, service)):
                users.add(f"{release.stack}/{service}")
    return sorted(users)


def _volume_row(world: World, volume: VolumeBinding) -> VolumeRow:
    return VolumeRow(
        name=volume.name,
        node=names.node_name(world, volume.node),
        stack=volume.stack,
        created=rfc3339(volume.created),
        used_by=tuple(volume_users(world, volume.name)),
        removing=bool(volume.removing),
    )
