"""The agent process of one node: all wiring, one task group.

`stackd agent CLUSTER NODE --data DIR`. Ending it, in whatever way, ends no container and no
Envoy; the next one adopts them.
"""

import argparse
import asyncio
import logging
import os
import random
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import uvloop

from stackd import __version__
from stackd.agent import config, disk
from stackd.agent.blobs import Blobs
from stackd.agent.condition import Condition
from stackd.agent.config import AgentFile, Papers
from stackd.agent.dns import DnsServer
from stackd.agent.machine import Contents, Machine
from stackd.agent.record import NodeRecord
from stackd.agent.renewal import Renewal
from stackd.agent.reporter import Reporter
from stackd.agent.requests import Requests
from stackd.agent.session import Hooks, Sessions
from stackd.agent.toggles import ToggleServer
from stackd.agent.traffic import Carriers, TrafficApplier
from stackd.agent.tunnels import Tunnels
from stackd.agent.worker import Voice, Worker
from stackd.aio import process
from stackd.aio.clock import SystemClock
from stackd.aio.layout import RUN_ROOT, ClusterLayout, NodeLayout
from stackd.aio.loop import forever
from stackd.core.model.assignment import NodeItem
from stackd.core.model.traffic import TrafficEntry
from stackd.errors import StackdError
from stackd.host import cgroups, netns
from stackd.host.datapath import HostNetwork
from stackd.host.envoy import EnvoyProcess
from stackd.host.images import NodeImages
from stackd.host.layers import LayerStore
from stackd.host.runtime import RuncRuntime
from stackd.host.uplink import NetworkConfig
from stackd.registry.blobs import BlobStore
from stackd.wire.agent_client import ManagerConnection
from stackd.wire.messages import Hello
from stackd.xds.proxy import EnvoyProxy

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Agent:
    """The parts that run."""

    runtime: RuncRuntime
    network: HostNetwork
    proxy: EnvoyProxy
    traffic: TrafficApplier
    dns: DnsServer
    toggles: ToggleServer
    worker: Worker
    sessions: Sessions
    hooks: Hooks
    condition: Condition
    requests: Requests


def main(arguments: list[str]) -> int:
    """Entry of the process; returns its exit code."""
    parser = argparse.ArgumentParser(prog="stackd agent")
    parser.add_argument("cluster")
    parser.add_argument("node")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--stop", action="store_true", help="stop every task, remove networks and Envoy, and end"
    )
    parser.add_argument("--netns", type=Path, help="the network namespace that is its host")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    layout = ClusterLayout(options.data, options.cluster).node(options.node)
    cgroups.enter(cgroups.discover(), layout.agent_cgroup)  # its proxy is to be found there too
    if options.netns is not None:
        netns.join(options.netns)
    process.raise_descriptor_limit()
    process.set_title(("stackd", "agent", options.cluster, options.node))
    code = 0
    try:
        uvloop.run(stop_node(layout) if options.stop else run_agent(layout))
    except* StackdError as failures:
        _log.error("%s", failures.exceptions[0])
        code = 1
    return code


async def run_agent(layout: NodeLayout) -> None:
    """From when the node is a member until SIGTERM or SIGINT. Raises StackdError when the node
    cannot be set up."""
    settings = await config.joined(layout)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    process.show_on_signal()
    async with AsyncExitStack() as stack:
        agent = await _assemble(layout, settings, stack)
        _write_pid(layout)
        clock = SystemClock()
        async with asyncio.TaskGroup() as group:
            await agent.worker.start()
            works: dict[str, Callable[[], Awaitable[None]]] = {
                "logs": agent.runtime.run,
                "traffic": agent.traffic.run,
                "dns": agent.dns.run,
                "requests": partial(agent.requests.run, agent.proxy.counts),
                "toggles": agent.toggles.run,
                "sessions": partial(agent.sessions.run, agent.hooks, clock),
                "network": partial(agent.network.guard, agent.condition),
                "disk": partial(disk.watch, layout.data, agent.condition, clock),
            }
            running = [forever(name, clock, work) for name, work in works.items()]
            tasks = [group.create_task(work) for work in (agent.worker.run(), *running)]
            await stop.wait()
            for task in tasks:
                task.cancel()


async def stop_node(layout: NodeLayout) -> None:
    """Take the place of the agent that ran here: stop its tasks, its Envoy and its networks.
    What the tasks ended as is in the node's record. Raises StackdError."""
    async with AsyncExitStack() as stack:
        agent = await _assemble(layout, config.load(layout), stack)
        async with asyncio.TaskGroup() as group:
            await agent.worker.start()
            running = group.create_task(agent.worker.run())
            await agent.worker.stop_all()
            running.cancel()
        await agent.proxy.close(stop=True)
        await agent.network.close(purge=True)


async def _assemble(layout: NodeLayout, settings: AgentFile, stack: AsyncExitStack) -> Agent:
    clock = SystemClock()
    runtime = RuncRuntime(layout, clock)
    network = await HostNetwork.open(_network_config(layout, settings))
    for note in network.notes:
        _log.info("network: %s", note)
    stack.push_async_callback(network.close, purge=False)
    reporter, papers = Reporter(clock.now()), Papers.of(layout)
    requests = Requests(reporter.measured, clock)
    contents = Contents()
    proxy = EnvoyProxy(layout.xds_socket, EnvoyProcess(layout), requests.take, contents.held)
    stack.push_async_callback(proxy.close, stop=False)
    store = BlobStore(layout.data / "blobs")
    store.prepare()
    blobs = Blobs(store, BlobStore(layout.cluster.blobs))
    dns, toggles = DnsServer(network), ToggleServer(network, reporter.asked, clock)

    def known(entries: Sequence[TrafficEntry]) -> None:
        dns.services(entries)
        toggles.services(entries)

    traffic = TrafficApplier(
        Carriers(network, proxy, known),
        layout.data / "traffic.json",
        reporter.report,
        clock,
    )
    images = NodeImages(layout, LayerStore(layout), blobs.fetch)
    machine = Machine(runtime, images, network, clock, contents)
    record = NodeRecord(layout.data / "record", layout.run / "record")
    stack.callback(record.close)
    condition = Condition(reporter, clock)
    worker = Worker(machine, record, Voice(reporter, condition), traffic)
    renewal = Renewal(papers, clock)
    hooks = Hooks(
        connect=lambda address: ManagerConnection(address, renewal.identity),
        tunnel=Tunnels(runtime).serve,
        jitter=lambda most: random.uniform(0, most),
        renewal=renewal.due,
        certificate=renewal.take,
        connected=blobs.connected,
        told=lambda: config.managers(layout),
    )
    sessions = Sessions(_hello(settings), settings.managers, worker, reporter)
    parts = (dns, toggles, worker, sessions, hooks, condition, requests)
    return Agent(runtime, network, proxy, traffic, *parts)


def _network_config(layout: NodeLayout, settings: AgentFile) -> NetworkConfig:
    node = NodeItem(
        id=settings.node_id, name=layout.name, index=settings.index, address=settings.address
    )
    return NetworkConfig(
        cluster=layout.cluster.cluster,
        node=node,
        folder=layout.run / "net",
        shared=RUN_ROOT / "shared",
        pool=settings.pool,
        vxlan_port=settings.vxlan_port,
    )


def _hello(settings: AgentFile) -> Hello:
    return replace(
        Hello(settings.node_id),
        address=settings.address,
        cpus=float(os.cpu_count() or 1),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        os=sys.platform,
        arch=os.uname().machine,
        version=__version__,
        instance=secrets.token_hex(8),
    )


def _write_pid(layout: NodeLayout) -> None:
    (layout.run / "agent.pid").write_text(f"{os.getpid()}\n")
