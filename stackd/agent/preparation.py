"""Everything between the assignment of a task and its created container: image, contents,
network, bundle. Called by `agent.task`, which cleans up whatever a failure leaves."""

import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from stackd.agent.machine import Machine
from stackd.core.model.assignment import TaskItem
from stackd.core.model.container import Grant
from stackd.core.model.driver import FileContent, ImageConfig, Launch
from stackd.core.model.release import ContentKind
from stackd.errors import Unavailable

RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A created container, not started."""

    pid: int
    image: ImageConfig


async def prepare(machine: Machine, item: TaskItem, hindered: Callable[[str], None]) -> Prepared:
    """Make the container. `hindered` is told what it waits for, and '' when that is over. Raises
    Rejected with the cause in one sentence."""
    task, container = item.task, item.revision.container
    image = await _asked(machine, partial(machine.images.ensure, container.image), hindered)
    files = (
        *await _files(machine, item, ContentKind.CONFIG, container.configs),
        *await _files(machine, item, ContentKind.SECRET, container.secrets),
    )
    aliases = sorted({name for join in container.networks for name in join.aliases})
    attach = partial(machine.network.attach, task.id, task.addresses, aliases)
    network = await _asked(machine, attach, hindered)
    launch = Launch(
        task=task,
        revision=item.revision,
        image=image,
        network=network,
        files=files,
        volumes=item.volumes,
        hostname=container.hostname or task.id,
    )
    tries = itertools.count()

    async def create() -> int:
        if next(tries):  # needs a place with nothing on it
            await machine.runtime.remove(task.id)
        return await machine.runtime.create(launch)

    return Prepared(await _asked(machine, create, hindered), image.config)


async def _asked(
    machine: Machine, work: Callable[[], Awaitable[T]], hindered: Callable[[str], None]
) -> T:
    """What `work` gives: a manager, registry or spawner that does not answer is asked again; the
    caller's deadline ends that."""
    pauses = itertools.chain(RETRY_SECONDS, itertools.repeat(RETRY_SECONDS[-1]))
    while True:
        try:
            done = await work()
        except Unavailable as error:
            _log.info("%s", error.cause)
            hindered(error.cause.rstrip("."))
            await machine.clock.sleep(next(pauses))
        else:
            hindered("")
            return done


async def _files(
    machine: Machine, item: TaskItem, kind: ContentKind, grants: Sequence[Grant]
) -> tuple[FileContent, ...]:
    files = []
    for grant in grants:
        key = item.contents[f"{kind}/{grant.name}"]
        content = await machine.contents.get(key)
        files.append(
            FileContent(
                target=grant.target,
                value=content.value,
                secret=kind is ContentKind.SECRET,
                uid=grant.uid,
                gid=grant.gid,
                mode=grant.mode,
            )
        )
    return tuple(files)
