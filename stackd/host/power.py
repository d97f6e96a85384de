"""Switching an embedded node off as if its power had failed, and on again.

A node that is off has no process, no network and nothing in memory; its data folder stays. The
supervisor starts nothing of it until it is on again. Called by `stackd embedded`.
"""

import asyncio
import contextlib
import os

from stackd.aio.layout import NodeLayout
from stackd.errors import Unavailable
from stackd.host import cgroups, noderun
from stackd.host.forwarding import Forwarding
from stackd.host.switch import Switch

LOOK_EVERY = 0.1


def off(node: NodeLayout, switch: Switch) -> None:
    """Kill all of it. Idempotent. Raises Unavailable. Blocks for up to some seconds."""
    node.off.touch()
    hierarchies = cgroups.discover()
    groups = (node.agent_cgroup, node.monitor_cgroup, node.cgroup)
    left = [group for group in groups if not cgroups.kill(hierarchies, group)]
    if left:
        raise Unavailable(f"Processes of {node.name} do not end.", "See the kernel log.")
    with contextlib.suppress(FileNotFoundError):
        inode = os.stat(node.netns).st_ino
        with Forwarding(switch.shared) as forwarding:
            forwarding.drop(inode)
    switch.disconnect(node)
    noderun.purge(node)


def on(node: NodeLayout) -> None:
    """Let the supervisor start it."""
    node.off.unlink(missing_ok=True)


async def powered(node: NodeLayout) -> None:
    """Return when the node is on."""
    while node.off.exists():  # noqa: ASYNC110 - another process decides
        await asyncio.sleep(LOOK_EVERY)
