"""Taking an embedded cluster down: everything it runs and made on this machine. Used by `down`,
and by `up` in the foreground when it is interrupted."""

import asyncio
import contextlib
import os
import shutil
import signal

from stackd.agent import config
from stackd.aio import proc
from stackd.aio.layout import RUN_ROOT, ClusterLayout, NodeLayout
from stackd.cli import embedded
from stackd.core.model.cluster import ClusterFile
from stackd.errors import Unavailable
from stackd.host import cgroups, leftovers, netns, noderun, pidfds, supervisor
from stackd.host.supervisor import Program

STOPPING = 120.0
"""Seconds that all tasks of a node may take to stop."""


async def take_down(layout: ClusterLayout, found: ClusterFile, *, purge: bool) -> list[str]:
    """Stop everything of the cluster on this machine; with `purge` remove its data too. Returns
    a sentence for each node that had to be stopped by force. Raises StackdError when something
    is left; doing it again goes on from there."""
    await end(embedded.supervising(layout))
    for node in embedded.nodes(layout, found):
        await end(embedded.serving(node))
    await end(embedded.managing(layout))
    switch = embedded.switching(layout, found)
    if switch is not None:
        layout.run.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(switch.ensure)
    stops = (_stop_node(node, found) for node in embedded.nodes(layout, found))
    notes = [note for note in await asyncio.gather(*stops) if note]
    if switch is not None:
        switch.remove()
    hierarchies = cgroups.discover()
    await asyncio.to_thread(_remove_cgroups, hierarchies, f"/stackd-{layout.cluster}")
    await asyncio.to_thread(leftovers.sweep, layout.cluster, RUN_ROOT / "shared")
    shutil.rmtree(layout.run, ignore_errors=True)
    for suffix in ("", "-checks"):
        shutil.rmtree(f"/dev/shm/stackd-{layout.cluster}{suffix}", ignore_errors=True)
    with contextlib.suppress(OSError):
        layout.run.parent.rmdir()
    if purge:
        shutil.rmtree(layout.data)
    return notes


async def _stop_node(node: NodeLayout, found: ClusterFile) -> str:
    """Have the node stop itself; when it cannot, end what it runs. The cause in a sentence."""
    cause = ""
    if (node.data / config.NAME).exists():
        program = embedded.serving(node, "--stop")
        await asyncio.to_thread(embedded.prepare, node, found)
        spawner = supervisor.running(embedded.spawning(node))
        if spawner is not None:
            os.close(spawner)
        if cause := await _stopped(program):
            await asyncio.to_thread(leftovers.reap_all, node)
    await end(embedded.spawning(node))
    await asyncio.to_thread(noderun.purge, node)
    netns.unpin(node.netns)
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


async def end(program: Program, seconds: float = 10.0) -> None:
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
