"""The processes of a cluster on this machine: which there are and how a node joins. Used by
`up`, `down`, `rehearse`, `doctor` and the supervisor process."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

import msgspec

from stackd.agent import config
from stackd.aio import process
from stackd.aio.layout import RUN_ROOT, ClusterLayout, NodeLayout
from stackd.core.model.api import Text, TokenRequest
from stackd.core.model.cluster import ClusterFile
from stackd.core.network import naming
from stackd.errors import StackdError
from stackd.host import cluster, firewall, noderun, power, supervisor, uplink
from stackd.host.foreignrules import Opening
from stackd.host.preflight import Finding
from stackd.host.supervisor import Program
from stackd.host.switch import Switch
from stackd.host.switchkeeper import Member, SwitchKeeper
from stackd.pki import token
from stackd.pki.request import new_key, new_request
from stackd.wire import agent_client
from stackd.wire.agent_server import Joiner
from stackd.wire.control_client import ControlClient
from stackd.wire.tls import Identity

log = logging.getLogger(__name__)

STACKD = (sys.executable, "-m", "stackd")


FIRST = "node1"
"""The node whose host is the machine itself; the others have a network namespace each."""


def nodes(layout: ClusterLayout, found: ClusterFile) -> list[NodeLayout]:
    """The nodes that are kept on this machine."""
    return [layout.node(f"node{number}") for number in range(1, found.nodes + 1)]


def number(node: NodeLayout) -> int:
    """An embedded node's number, from 1."""
    return int(node.name.removeprefix("node"))


def switching(layout: ClusterLayout, found: ClusterFile) -> Switch | None:
    """The switch between the nodes; None while there is only one."""
    if not found.underlay:
        return None
    return Switch(layout, found.underlay, RUN_ROOT / "shared", found.address, _ports(found))


async def firewalls(layout: ClusterLayout | None, found: ClusterFile | None) -> list[Finding]:
    """What others' firewalls mean for the cluster on this machine, or for one to come."""
    if layout is None or found is None:
        return await firewall.examine()
    running = supervisor.running(supervising(layout))
    if running is not None:
        os.close(running)
    switch, first = switching(layout, found), layout.node(FIRST)
    own: tuple[Opening, ...] = ()
    if running is not None and (first.data / config.NAME).exists():
        own = uplink.openings(naming.host_uplink(found.id, config.load(first).index))
    if switch is not None and own:
        own = (*own, *switch.openings)
    return await firewall.examine(_ports(found), found.id, own)


def _ports(found: ClusterFile) -> tuple[tuple[str, int], ...]:
    """What nodes reach on the machine of the manager."""
    return (("tcp", found.control_port), ("tcp", found.enrol_port), ("udp", found.vxlan_port))


def supervising(layout: ClusterLayout) -> Program:
    """The supervisor itself."""
    return Program(
        name="supervisor",
        argv=(*STACKD, "supervisor", layout.cluster, "--data", str(layout.data)),
        word=layout.cluster,
        pid_file=layout.run / "supervisor.pid",
        log=layout.data / "logs" / "supervisor.log",
    )


def managing(layout: ClusterLayout) -> Program:
    """The manager."""
    return Program(
        name="manager",
        argv=(*STACKD, "manager", layout.cluster, "--data", str(layout.data)),
        word=layout.cluster,
        pid_file=layout.run / "manager.pid",
        log=layout.data / "logs" / "manager.log",
    )


def spawning(node: NodeLayout) -> Program:
    """A node's spawner of container monitors."""
    return Program(
        name=f"{node.name}/spawner",
        argv=(*STACKD, "spawner", node.cluster.cluster, node.name),
        word=node.cluster.cluster,
        pid_file=node.run / "spawner.pid",
        log=node.cluster.data / "logs" / f"{node.name}-spawner.log",
    )


def serving(node: NodeLayout, *flags: str) -> Program:
    """A node's agent."""
    data = str(node.cluster.data)
    inside = () if node.name == FIRST else ("--netns", str(node.netns))
    return Program(
        name=f"{node.name}/agent",
        argv=(*STACKD, "agent", node.cluster.cluster, node.name, "--data", data, *inside, *flags),
        word=node.cluster.cluster,
        pid_file=node.run / "agent.pid",
        log=node.cluster.data / "logs" / f"{node.name}-agent.log",
        env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"},
    )


def supervisor_main(arguments: list[str]) -> int:
    """Entry of the supervisor process: `stackd supervisor CLUSTER --data DIR`."""
    data = Path(arguments[arguments.index("--data") + 1])
    found = cluster.read(data)
    if found is None:
        return 1
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    process.set_title(("stackd", "supervisor", found.id))
    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(_supervise(ClusterLayout(data, found.id), found))
    return 0


async def _supervise(layout: ClusterLayout, found: ClusterFile) -> None:
    """Keep everything running until SIGTERM; ending this ends nothing else."""
    current = asyncio.current_task()
    assert current is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, current.cancel)
    switch = switching(layout, found)
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        if switch is not None:
            members = [Member(n, number(n)) for n in nodes(layout, found) if n.name != FIRST]
            keeper = SwitchKeeper(switch, members)
            stack.callback(keeper.close)
            await keeper.start()
            group.create_task(keeper.run())
        group.create_task(supervisor.keep(managing(layout)))
        for node in nodes(layout, found):
            group.create_task(_keep_node(node, found))


async def _keep_node(node: NodeLayout, found: ClusterFile) -> None:
    place = asyncio.Lock()

    async def powered() -> None:
        await power.powered(node)
        async with place:
            await asyncio.to_thread(prepare, node, found)

    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.keep(spawning(node), powered))
        group.create_task(supervisor.keep(serving(node), powered))
        await _join(node, found)


def prepare(node: NodeLayout, found: ClusterFile) -> None:
    """Make what a node needs to exist before its processes. Idempotent."""
    noderun.prepare(node)
    switch = switching(node.cluster, found)
    if switch is not None and node.name != FIRST:
        switch.connect(node, number(node))


def _address(node: NodeLayout, found: ClusterFile) -> str:
    switch = switching(node.cluster, found)
    if switch is None or node.name == FIRST:
        return found.address
    return switch.address(number(node))


def refresh(layout: ClusterLayout, found: ClusterFile) -> None:
    """Tell members where the manager is now and which addresses are theirs: agents that start
    take all of it, agents that run find the manager again."""
    for node in nodes(layout, found):
        if not (node.data / config.NAME).exists():
            continue
        old = config.load(node)
        new = msgspec.structs.replace(
            old,
            managers=(f"{found.address}:{found.control_port}",),
            address=_address(node, found),
            pool=found.pool,
        )
        if new != old:
            config.save(node, new)


async def _join(node: NodeLayout, found: ClusterFile) -> None:
    """Make the node a member, unless it is one: as any other machine, by a join token."""
    said = ""
    while not (node.data / config.NAME).exists():
        try:
            await _join_once(node, found)
        except StackdError as error:
            if error.cause != said:
                said = error.cause
                log.info("%s waits to join: %s", node.name, said)
            await asyncio.sleep(0.05)


async def _join_once(node: NodeLayout, found: ClusterFile) -> None:
    async with ControlClient(node.cluster.control_socket) as client:
        shown = await client.call("TokenShow", TokenRequest(role="worker"), Text, timeout=10)
    presented = token.parse(shown.text)
    key = new_key()
    address = _address(node, found)
    joiner = Joiner(shown.text, new_request(key), node.name, address)
    joined = await agent_client.join(
        f"{found.address}:{found.enrol_port}", presented.fingerprint, joiner
    )
    config.Papers.of(node).save(Identity(joined.certificate, key, joined.authority))
    # The settings come last: the agent takes them as the sign that it is a member.
    settings = config.AgentFile(
        node_id=joined.node_id,
        index=joined.index,
        managers=joined.managers,
        address=address,
        pool=found.pool,
        vxlan_port=found.vxlan_port,
    )
    config.save(node, settings)
