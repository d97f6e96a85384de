"""The processes of a cluster on this machine: which there are, how a node joins, how all of it
is taken down again. Used by `up`, `down` and the supervisor process."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
from pathlib import Path

from stackd.agent import config
from stackd.aio import proc, process
from stackd.aio.layout import RUN_ROOT, ClusterLayout, NodeLayout
from stackd.core.model.api import Text, TokenRequest
from stackd.core.model.cluster import ClusterFile
from stackd.errors import StackdError, Unavailable
from stackd.host import cgroups, cluster, leftovers, noderun, pidfds, supervisor
from stackd.host.supervisor import Program
from stackd.pki import token
from stackd.pki.request import new_key, new_request
from stackd.wire import agent_client
from stackd.wire.agent_server import Joiner
from stackd.wire.control_client import ControlClient
from stackd.wire.tls import Identity

log = logging.getLogger(__name__)

STACKD = (sys.executable, "-m", "stackd")
STOPPING = 120.0
"""Seconds that all tasks of a node may take to stop."""


def nodes(layout: ClusterLayout, found: ClusterFile) -> list[NodeLayout]:
    """The nodes that are kept on this machine."""
    return [layout.node(f"node{number}") for number in range(1, found.nodes + 1)]


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
    return Program(
        name=f"{node.name}/agent",
        argv=(*STACKD, "agent", node.cluster.cluster, node.name, "--data", data, *flags),
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
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.keep(managing(layout)))
        for node in nodes(layout, found):
            group.create_task(_keep_node(node, found))


async def _keep_node(node: NodeLayout, found: ClusterFile) -> None:
    noderun.prepare(node)
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.keep(spawning(node)))
        group.create_task(supervisor.keep(serving(node)))
        await _join(node, found)


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
    joiner = Joiner(shown.text, new_request(key), node.name, found.address)
    joined = await agent_client.join(
        f"{found.address}:{found.enrol_port}", presented.fingerprint, joiner
    )
    config.Papers.of(node).save(Identity(joined.certificate, key, joined.authority))
    # The settings come last: the agent takes them as the sign that it is a member.
    settings = config.AgentFile(
        node_id=joined.node_id,
        index=joined.index,
        managers=joined.managers,
        address=found.address,
        pool=found.pool,
        vxlan_port=found.vxlan_port,
    )
    config.save(node, settings)


async def take_down(layout: ClusterLayout, found: ClusterFile, *, purge: bool) -> list[str]:
    """Stop everything of the cluster on this machine; with `purge` remove its data too. Returns
    a sentence for each node that had to be stopped by force. Raises StackdError when something
    is left; doing it again goes on from there."""
    await _end(supervising(layout))
    for node in nodes(layout, found):
        await _end(serving(node))
    await _end(managing(layout))
    notes = [note for node in nodes(layout, found) if (note := await _stop_node(node))]
    hierarchies = cgroups.discover()
    await asyncio.to_thread(_remove_cgroups, hierarchies, f"/stackd-{layout.cluster}")
    await asyncio.to_thread(leftovers.sweep, layout.cluster, RUN_ROOT / "shared")
    shutil.rmtree(layout.run, ignore_errors=True)
    shutil.rmtree(f"/dev/shm/stackd-{layout.cluster}", ignore_errors=True)
    with contextlib.suppress(OSError):
        layout.run.parent.rmdir()
    if purge:
        shutil.rmtree(layout.data)
    return notes


async def _stop_node(node: NodeLayout) -> str:
    """Have the node stop itself; when it cannot, end what it runs. The cause in a sentence."""
    cause = ""
    if (node.data / config.NAME).exists():
        program = serving(node, "--stop")
        noderun.prepare(node)
        spawner = supervisor.running(spawning(node))
        if spawner is not None:
            os.close(spawner)
        if cause := await _stopped(program):
            await asyncio.to_thread(leftovers.reap_all, node)
    await _end(spawning(node))
    await asyncio.to_thread(noderun.purge, node)
    return f"{node.name} was stopped by force: {cause}" if cause else ""


async def _stopped(program: Program) -> str:
    """Run the agent that stops its node; '' or why it could not."""
    command = proc.Command(program.argv, env=program.env, timeout=STOPPING, max_output=1 << 20)
    try:
        done = await proc.run(command)
    except Unavailable as error:
        return error.cause
    with program.log.open("ab") as file:
        file.write(done.stderr)
    last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return (last or f"exit code {done.code}") if done.code else ""


def _remove_cgroups(hierarchies: cgroups.Hierarchies, path: str) -> None:
    cgroups.kill(hierarchies, path)
    cgroups.remove(hierarchies, path)


async def _end(program: Program, seconds: float = 10.0) -> None:
    """SIGTERM, then SIGKILL; returns when it has ended."""
    handle = supervisor.running(program)
    if handle is None:
        return
    try:
        pidfds.send(handle, signal.SIGTERM)
        try:
            async with asyncio.timeout(seconds):
                await pidfds.wait_ended(handle)
        except TimeoutError:
            pidfds.send(handle, signal.SIGKILL)
            await pidfds.wait_ended(handle)
    finally:
        os.close(handle)
