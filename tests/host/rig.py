"""A node for host tests: real runc, conmon, spawner and mounts under a cluster id of its own.

All it makes carries that id, so it removes its own things only; what a killed test run left is
removed by the next one.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from stackd.aio import proc
from stackd.aio.clock import SystemClock
from stackd.aio.layout import ClusterLayout, NodeLayout
from stackd.core.model.container import ContainerSpec
from stackd.core.model.driver import FileContent, Launch, LocalImage, NetworkSetup
from stackd.core.model.ids import RevisionId, TaskId
from stackd.core.model.release import Revision
from stackd.core.model.task import Task
from stackd.host import cgroups, images, layers, noderun
from stackd.host.runtime import RuncRuntime
from tests.host import images as made

_ROOT = Path("/var/tmp")
_PREFIX = "stackd-test-"


@dataclass
class Rig:
    """One node. `runtime` may be replaced, as after a restart of the agent."""

    layout: NodeLayout
    runtime: RuncRuntime
    spawner: asyncio.subprocess.Process
    image: LocalImage
    netns: list[str] = field(default_factory=list)
    count: int = 0

    def task_id(self) -> str:
        self.count += 1
        return f"t{self.layout.cluster.cluster[:6]}{self.count:05d}"

    async def network(self) -> str:
        """A fresh network namespace; returns its path."""
        name = f"{self.layout.cluster.cluster}-{len(self.netns)}"
        await _ip("netns", "add", name)
        await _ip("-n", name, "link", "set", "lo", "up")
        self.netns.append(name)
        return f"/run/netns/{name}"

    async def launch(
        self,
        *argv: str,
        files: tuple[FileContent, ...] = (),
        volumes: Mapping[str, str] | None = None,
        **spec: Any,
    ) -> Launch:
        """A launch of `argv` in the busybox image; `spec` are fields of ContainerSpec."""
        task_id = self.task_id()
        container = ContainerSpec(image=self.image.digest, command=argv or None, **spec)
        revision = Revision(
            stack="s", service="w", id=RevisionId(secrets.token_hex(6)), container=container
        )
        task = Task(id=TaskId(task_id), stack="s", service="w", slot="1", revision=revision.id)
        network = NetworkSetup(f"/run/netns/{self.netns[0]}", {"net": "10.9.9.9"}, "10.9.9.1")
        return Launch(task, revision, self.image, network, files, volumes or {}, "w-1")

    async def run(self, *argv: str, **spec: Any) -> str:
        """Create and start; returns the task id."""
        launch = await self.launch(*argv, **spec)
        await self.runtime.create(launch)
        await self.runtime.start(launch.task.id)
        return launch.task.id

    async def output(self, task_id: str) -> str:
        """What the task has written when it has ended."""
        await self.runtime.wait(task_id)
        return await self.text(task_id)

    async def text(self, task_id: str) -> str:
        """What the task has written until now."""
        return "".join([text async for text in self.lines(task_id)])

    async def lines(self, task_id: str) -> AsyncIterator[str]:
        async for page in self.runtime.logs(task_id, follow=False, tail=-1, since=0):
            for line in page:
                yield line.text.decode() + ("" if line.partial else "\n")

    def restart(self) -> RuncRuntime:
        """A new runtime object that knows nothing, as after a restart of the agent."""
        self.runtime.close()
        self.runtime = RuncRuntime(self.layout, SystemClock())
        return self.runtime

    async def restart_spawner(self) -> None:
        if self.spawner.returncode is None:
            self.spawner.kill()
            await self.spawner.wait()
        self.layout.spawner_socket.unlink(missing_ok=True)
        self.spawner = await _spawner(self.layout)


@contextlib.asynccontextmanager
async def rig(config: Mapping[str, Any] | None = None) -> AsyncIterator[Rig]:
    """A node with the busybox image (`config` = its OCI config) unpacked."""
    await sweep()
    cluster = f"zt{secrets.token_hex(3)}"
    data = _ROOT / f"{_PREFIX}{cluster}"
    data.mkdir(mode=0o700)
    (data / "owner").write_text(str(os.getpid()))
    layout = ClusterLayout(data, cluster).node("n1")
    spawner = None
    umask = os.umask(0o077)  # as the agent's
    try:
        runtime = RuncRuntime(layout, SystemClock())
        spawner = await _spawner(layout)
        built = made.build(data / "blobs", [made.busybox_layer()], config)
        image = await store(layout).ensure(built.name)
        made_rig = Rig(layout, runtime, spawner, image)
        await made_rig.network()
        yield made_rig
        spawner = made_rig.spawner
        made_rig.runtime.close()
    finally:
        os.umask(umask)
        await wipe(layout)
        if spawner is not None:
            await spawner.wait()


def store(layout: NodeLayout) -> images.NodeImages:
    """Images whose blobs lie in the cluster's data folder."""

    async def fetch(digest: str) -> Path:
        return layout.cluster.data / "blobs" / digest.removeprefix("sha256:")

    return images.NodeImages(layout, layers.LayerStore(layout), fetch)


async def _spawner(layout: NodeLayout) -> asyncio.subprocess.Process:
    null = asyncio.subprocess.DEVNULL
    argv = (sys.executable, "-m", "stackd.host.spawner", layout.cluster.cluster, layout.name)
    process = await proc.start(argv, (null, null, 2))
    await until(layout.spawner_socket.exists)
    return process


async def until(true: Callable[[], bool], patience: float = 30.0) -> None:
    """Return when `true()`; fail after `patience` seconds."""
    for _ in range(int(patience * 100)):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("what was waited for did not happen")


async def wipe(layout: NodeLayout) -> None:
    """Remove every trace of the test cluster of `layout`."""
    cluster = layout.cluster.cluster
    hierarchies = cgroups.discover()
    group = f"/stackd-{cluster}"
    await asyncio.to_thread(cgroups.kill, hierarchies, group)
    cgroups.remove(hierarchies, group)
    await unmount_below(layout.cluster.data)
    await unmount_below(layout.run)
    noderun.purge(layout)
    with contextlib.suppress(FileNotFoundError):
        for entry in list(os.scandir("/run/netns")):
            if entry.name.startswith(f"{cluster}-"):
                await _ip("netns", "del", entry.name)
    shutil.rmtree(layout.cluster.data, ignore_errors=True)
    shutil.rmtree(layout.cluster.run, ignore_errors=True)


async def sweep() -> None:
    """Wipe the clusters of test runs that were killed."""
    for data in _ROOT.glob(f"{_PREFIX}*"):
        owner = data / "owner"
        pid = owner.read_text() if owner.exists() else ""
        if pid and not Path(f"/proc/{pid}").exists():
            cluster = data.name.removeprefix(_PREFIX)
            await wipe(ClusterLayout(data, cluster).node("n1"))


async def unmount_below(top: Path) -> None:
    for target in reversed(mounts_below(top)):
        await proc.run(proc.Command(("umount", "-l", target)))


def mounts_below(top: Path) -> list[str]:
    """Mount points strictly below a folder."""
    rows = (line.split(" ") for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [row[4] for row in rows if row[4].startswith(f"{top}/")]


def traces(layout: NodeLayout, task_id: str) -> list[str]:
    """Whatever the host still shows of a task, its log apart."""
    found = [target for target in mounts_below(Path("/")) if task_id in target]
    for root in cgroups.discover().roots:
        folder = root / layout.cgroup.lstrip("/") / task_id
        found += [str(folder)] if folder.exists() else []
    for top in (layout.run, layout.containers):
        found += [str(path) for path in top.rglob(f"*{task_id}*")]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if task_id.encode() in (process / "cmdline").read_bytes():
                found.append(str(process))
    return found


async def _ip(*arguments: str) -> None:
    done = await proc.run(proc.Command(("ip", *arguments)))
    assert done.code == 0, done.error


def with_id(launch: Launch, task_id: str) -> Launch:
    """The same launch for another task."""
    task = msgspec.structs.replace(launch.task, id=TaskId(task_id))
    return replace(launch, task=task)
