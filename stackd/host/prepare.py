"""Everything that must be on the host before runc is asked for a container.

Called by the runtime for each creation: root file system, safety checks in it, volumes, files,
config. Configs are rendered once per revision and filled per task.
"""

import asyncio
from pathlib import Path

from stackd.aio.layout import NodeLayout
from stackd.core.container import etcfiles, mounts, oci, users
from stackd.core.model.container import Mount, MountKind
from stackd.core.model.driver import Launch
from stackd.errors import Rejected
from stackd.host import bundle, rootfs, volumes

_TEMPLATES = 64


class Preparer:
    """Prepares bundles on one node."""

    def __init__(self, layout: NodeLayout, facts: oci.NodeFacts) -> None:
        self._layout = layout
        self._facts = facts
        self.volumes = volumes.Volumes(layout)
        self._templates: dict[object, str] = {}

    async def all(self, place: bundle.Home, launch: Launch) -> None:
        """Prepare the task's bundle. Raises Rejected, Unavailable, OSError; the caller reaps what
        is left then."""
        wanted = _mounts(launch)
        mounts.check(wanted, launch.files)
        user = await asyncio.to_thread(self._root, place, launch, wanted)
        await asyncio.to_thread(bundle.make_bundle, place, _etc(launch))
        request = volumes.Request(wanted, launch.volumes, place.disk, place.merged, place.bundle)
        sources = await self.volumes.sources(request)
        text = self._config(place, launch, (user, wanted, sources))
        await asyncio.to_thread(_write, place, launch, user, text)

    def _root(self, place: bundle.Home, launch: Launch, wanted: tuple[Mount, ...]) -> users.User:
        layers = [self._layer(diff_id) for diff_id in launch.image.layers]
        bundle.make_root(place, layers)
        with rootfs.opened(place.merged) as root:
            root.preflight()
            for target in (*(m.target for m in wanted), *(f.target for f in launch.files)):
                real = root.real(mounts.normal(target))
                if mounts.closed(real):
                    raise Rejected(
                        f"The mount target {target} leads to {real} in this image.",
                        "Choose another target.",
                    )
            for mount in wanted:
                if mount.kind is MountKind.TMPFS:
                    root.set_mode(mounts.normal(mount.target), mount.mode)
            name = launch.revision.container.user or launch.image.config.user
            return users.resolve(name, root.read_text("/etc/passwd"), root.read_text("/etc/group"))

    def _layer(self, diff_id: str) -> Path:
        return self._layout.layers / diff_id.removeprefix("sha256:")

    def _config(
        self,
        place: bundle.Home,
        launch: Launch,
        made: tuple[users.User, tuple[Mount, ...], dict[str, str]],
    ) -> str:
        user, wanted, sources = made
        per_task = any(value.startswith((str(place.disk), str(place.bundle)))
                       for value in sources.values())  # fmt: skip
        files = tuple(file.target for file in launch.files)
        key = (launch.revision.key, launch.image.digest, user, tuple(sources.items()), files)
        text = self._templates.get(key)
        if text is None:
            spec = launch.revision.container
            text = oci.template(
                oci.Wanted(spec, launch.image.config, user, wanted, sources, files), self._facts
            )
            if not per_task:
                self._remember(key, text)
        return oci.fill(
            text,
            oci.Places(
                root=str(place.merged),
                bundle=str(place.bundle),
                netns=launch.network.netns,
                cgroup=place.cgroup,
                hostname=launch.hostname,
            ),
        )

    def _remember(self, key: object, text: str) -> None:
        while len(self._templates) >= _TEMPLATES:
            del self._templates[next(iter(self._templates))]
        self._templates[key] = text


def _mounts(launch: Launch) -> tuple[Mount, ...]:
    """The service's mounts. Under a read-only root the image's own volumes must be writable
    places too; otherwise the writable layer serves them."""
    spec = launch.revision.container
    if not spec.read_only:
        return spec.mounts
    taken = {mounts.normal(mount.target) for mount in spec.mounts}
    own = (path for path in launch.image.config.volumes if mounts.normal(path) not in taken)
    return (*spec.mounts, *(Mount(kind=MountKind.VOLUME, target=path) for path in own))


def _etc(launch: Launch) -> dict[str, str]:
    spec = launch.revision.container
    return {
        "hosts": etcfiles.hosts(launch.hostname, launch.network.hosts, spec.extra_hosts),
        "hostname": f"{launch.hostname}\n",
        "resolv.conf": etcfiles.resolv_conf(launch.network.resolver, spec.dns, spec.dns_search),
    }


def _write(place: bundle.Home, launch: Launch, user: users.User, text: str) -> None:
    bundle.write_files(place, launch.files, user)
    bundle.write_config(place, text)
