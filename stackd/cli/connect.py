"""Talks to the manager of the cluster that a command is about, over its root-only socket."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from stackd.aio.layout import ClusterLayout
from stackd.cli.progress import progress
from stackd.cli.target import Target
from stackd.core.model.record import Value
from stackd.errors import Refused, Unavailable
from stackd.host import cluster
from stackd.wire.control_client import ControlClient

T = TypeVar("T")
GONE = "While the cluster is up it is back in seconds, else: stackd up. See logs/manager.log of it."


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


def client(where: Target) -> ControlClient:
    """A client of the cluster's manager. Raises Refused when it does not run."""
    layout = layout_of(where)
    if not layout.control_socket.exists():
        raise Refused(
            f"The cluster in {where.data} is not running.",
            f"Start it: stackd up --data {where.data}",
        )
    return ControlClient(layout.control_socket)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end. Raises StackdError, with what to do."""
    gc.enable()  # everything is loaded, and what follows may last
    try:
        return asyncio.run(work)
    except Unavailable as error:
        raise Unavailable(error.cause, error.remedy or GONE) from error


def call(where: Target, method: str, request: Value, answer: type[T], doing: str = "Waiting") -> T:
    """One unary call. `doing` is shown, with the time, when it lasts."""

    async def work() -> T:
        async with client(where) as connection, progress(doing):
            return await connection.call(method, request, answer)

    return run(work())


def stream(
    where: Target, method: str, request: Value, answer: type[T], each: Callable[[T], None]
) -> None:
    """A server stream, each answer handed to `each` as it comes."""

    async def work() -> None:
        async with client(where) as connection:
            answers: AsyncIterator[T] = connection.stream(method, request, answer)
            async for item in answers:
                each(item)

    run(work())
