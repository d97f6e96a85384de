"""Talks to the manager of the cluster that a command is about, over its root-only socket.

A manager that was killed is started again, and one that lost its lead takes it again: while the
cluster is up a command waits for that, for a bounded time, and says so. What was asked when the
manager went is asked again only where asking twice does no harm.
"""

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from stackd.aio.layout import ClusterLayout
from stackd.cli.progress import Progress, progress
from stackd.cli.target import Target
from stackd.core.model.record import Value
from stackd.errors import Refused, Unavailable, Unreachable
from stackd.host import cluster, supervisor
from stackd.wire.control_client import ControlClient, listens

T = TypeVar("T")
GONE = "While the cluster is up it is back in seconds, else: stackd up. See logs/manager.log of it."
PATIENCE = 30.0
"""Seconds for which a manager that is to come is waited for: its supervisor pauses for at most 10
before it starts it again."""
AGAIN = 0.1
"""Seconds between two looks."""
TAKING_OVER = "The manager is taking over"
_HARMLESS = frozenset(
    {
        *("Status", "List", "Ps", "Why", "History", "Plan", "Diff", "Compare", "Version"),
        *("FlagList", "RepoList", "NodeList", "NodeInspect", "ContentList", "ContentInspect"),
        *("NetworkList", "NetworkInspect", "VolumeList", "VolumeInspect"),
        *("ImageList", "ImageInspect", "RegistryList", "ClusterShow", "TokenShow", "TokenList"),
    }
)
"""Methods that change nothing: they may be asked twice."""


def layout_of(where: Target) -> ClusterLayout:
    """Paths of the cluster. Raises Refused when there is none."""
    if where.context:
        raise Refused(
            "Remote clusters (--context, STACKD_HOST) are not supported yet.",
            "Run this on the manager's machine.",
        )
    found = cluster.read(where.data)
    if found is None:
        raise Refused(
            f"There is no cluster in {where.data}.",
            "Start one with `stackd up`, or name its folder with --data.",
        )
    return ClusterLayout(where.data, found.id)


@contextlib.asynccontextmanager
async def connected(where: Target, shown: Progress | None = None) -> AsyncIterator[ControlClient]:
    """A client of the cluster's manager; one that is about to lead again is waited for, which is
    said in `shown`. Raises Refused when the cluster is not up, Unavailable when its manager does
    not come within 30 s. What it is used for raises Unreachable when the manager goes."""
    layout = layout_of(where)
    if not listens(layout.control_socket):
        async with contextlib.nullcontext(shown) if shown else progress(TAKING_OVER) as told:
            doing, told.text = told.text, TAKING_OVER
            await _come(where, layout)
            told.text = doing
    async with ControlClient(layout.control_socket) as client:
        yield client


async def _come(where: Target, layout: ClusterLayout) -> None:
    """Return once the manager takes connections."""
    end = time.monotonic() + PATIENCE
    while not listens(layout.control_socket):
        if not _kept(layout):
            raise Refused(
                f"The cluster in {where.data} is not running.",
                f"Start it: stackd up --data {where.data}",
            )
        if time.monotonic() > end:
            raise Unavailable(
                f"The manager of the cluster in {where.data} does not come within {PATIENCE:g} s.",
                f"See {layout.data / 'logs' / 'manager.log'}.",
            )
        await asyncio.sleep(AGAIN)


def _kept(layout: ClusterLayout) -> bool:
    """Whether there is a manager, or somebody who starts one."""
    files = (layout.run / f"{name}.pid" for name in ("manager", "supervisor"))
    return any(supervisor.alive(file, layout.cluster) for file in files)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end. Raises StackdError, with what to do."""
    gc.enable()  # everything is loaded, and what follows may last
    try:
        return asyncio.run(work)
    except Unavailable as error:
        raise Unavailable(error.cause, error.remedy or GONE) from error


def call(
    where: Target,
    method: str,
    request: Value,
    answer: type[T],
    doing: str = "Waiting",
    *,
    twice: bool = False,
) -> T:
    """One unary call. `doing` is shown, with the time, when it lasts. `twice`: it does no harm to
    ask again when the manager has gone before it answered."""
    again = twice or method in _HARMLESS

    async def work() -> T:
        end: float | None = None
        async with progress(doing) as shown:
            while True:
                try:
                    async with connected(where, shown) as connection:
                        return await connection.call(method, request, answer)
                except Unreachable as error:
                    end = end or time.monotonic() + PATIENCE
                    if not again or time.monotonic() > end:
                        raise _unanswered() from error
                    print("The manager has gone before it answered: asking again.", file=sys.stderr)
                    await asyncio.sleep(AGAIN)

    return run(work())


def _unanswered() -> Unavailable:
    return Unavailable(
        "The manager has gone before it answered.",
        "It may have been done: look at it (stackd status), then ask again if it was not.",
    )


def stream(
    where: Target, method: str, request: Value, answer: type[T], each: Callable[[T], None]
) -> None:
    """A server stream, each answer handed to `each` as it comes."""

    async def work() -> None:
        async with connected(where) as connection:
            answers: AsyncIterator[T] = connection.stream(method, request, answer)
            async for item in answers:
                each(item)

    run(work())
