"""The manager process: its parts that live as long as it does.

`stackd manager CLUSTER --data DIR`, started by `up`. Ending it ends nothing but itself: agents,
containers and Envoy go on, and the next manager continues from the store.
"""

import argparse
import asyncio
import logging
import os
import signal
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import msgspec
import uvloop

from stackd.aio import process
from stackd.aio.clock import SystemClock
from stackd.aio.ids import fresh_ids, made_at
from stackd.aio.layout import ClusterLayout
from stackd.aio.loop import forever
from stackd.core.model.cluster import ClusterFile
from stackd.core.model.event import Event
from stackd.core.model.task import Task
from stackd.core.model.world import World
from stackd.errors import StackdError
from stackd.manager.door import Door
from stackd.manager.leader import Leader
from stackd.manager.leading import lead
from stackd.manager.loop import Context
from stackd.manager.metrics import ManagerMetrics
from stackd.manager.standing import Manager
from stackd.pki import authority as pki
from stackd.store.seal import open_sealer
from stackd.store.sqlite import SqliteStore
from stackd.store.tables import Tables
from stackd.web import api, http
from stackd.web.hooks import Hooks

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Entry of the process; returns its exit code."""
    parser = argparse.ArgumentParser(prog="stackd manager")
    parser.add_argument("cluster")
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    process.raise_descriptor_limit()
    process.set_title(("stackd", "manager", options.cluster))
    body = (options.data / "cluster.json").read_bytes()
    cluster = msgspec.json.decode(body, type=ClusterFile)
    code = 0
    try:
        uvloop.run(run_manager(ClusterLayout(options.data, cluster.id), cluster))
    except* StackdError as failures:
        for failure in failures.exceptions:
            log.error("%s", failure)
        code = 1
    return code


async def run_manager(layout: ClusterLayout, cluster: ClusterFile) -> None:
    """Until SIGTERM or SIGINT. Raises StackdError when the manager cannot work."""
    stop = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stop.set)
    process.show_on_signal()
    clock = SystemClock()
    os.umask(0o077)
    (layout.manager / "ca").mkdir(mode=0o700, parents=True, exist_ok=True)
    layout.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        kv = await SqliteStore.open(layout.manager / "store.db", clock)
        stack.push_async_callback(kv.close)
        sealer = await open_sealer(kv, layout.manager / "store.key")
        tables = Tables(kv, clock)
        await tables.open()
        clock.at_least(_latest(tables.world))
        authority = pki.open_authority(layout.manager / "ca", cluster.id, clock.now())
        context = Context(tables, clock, fresh_ids(clock))
        manager = Manager(layout, cluster, sealer, authority)
        leader = Leader(kv, "manager1", context, (partial(lead, manager),))
        health, door = partial(_health, manager, tables), Door(manager.standing, tables, clock)
        hooks = Hooks(lambda: manager.standing.hooks, clock)
        routes = (*api.routes(door), hooks.route())
        local = http.application(health, ManagerMetrics(tables), routes)
        serving = [partial(http.serve, local, http.Listener("127.0.0.1", cluster.http_port))]
        if (listener := http.listener(cluster)) is not None:
            serving.append(partial(http.serve, http.application(health, None, routes), listener))
        async with asyncio.TaskGroup() as group:
            works = (
                tables.run(),
                leader.run(),
                *(forever("http", clock, serve) for serve in serving),
            )
            tasks = [group.create_task(work) for work in works]
            await stop.wait()
            for task in tasks:
                task.cancel()


def _latest(world: World) -> float:
    """When a former manager last made a task or an event: its clock may have been ahead, and no
    time that it stored may lie in the future."""
    ids = [*(event.id for event in world.all(Event)), *(task.id for task in world.all(Task))]
    return made_at(max(ids)) if ids else 0.0


def _health(manager: Manager, tables: Tables) -> tuple[bool, dict[str, str]]:
    """Good while this manager leads and serves; what cannot be read is told beside it."""
    details = {
        "status": "ok" if manager.standing.serving else "not leading",
        "store_revision": str(tables.world.revision),
        "quarantined": str(len(tables.quarantine)),
    }
    return manager.standing.serving, details
