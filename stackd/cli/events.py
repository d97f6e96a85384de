"""`stackd events`: what happened, to what, by whom, caused by which event."""

import asyncio
from collections.abc import Callable
from typing import Annotated

import msgspec
import typer

from stackd.cli.connect import AGAIN, connected, run
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import print_json, print_lines
from stackd.cli.target import Target
from stackd.core.model.api import EventRow, EventsRequest
from stackd.errors import Unreachable

REMEMBERED = 20_000
"""Ids of events that were shown: at least as many as a cluster keeps."""


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("events")
    def events(
        context: typer.Context,
        name: Annotated[str, typer.Argument(metavar="[NAME]")] = "",
        follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on.")] = False,
        trace: Annotated[
            str, typer.Option("--trace", help="Only the chain of causes of this event.")
        ] = "",
        tail: Annotated[int, typer.Option("--tail", help="At most so many old ones.")] = 200,
        output: Output = "text",
    ) -> None:
        """List events, oldest first. With -o json one document a line.

        Example: stackd events shop --follow
        """
        checked_output(output)
        request = EventsRequest(name=name, follow=follow, trace=trace, tail=tail)
        run(_follow(where(context), request, _json if output == "json" else _line))


async def _follow(target: Target, request: EventsRequest, show: Callable[[EventRow], None]) -> None:
    """Show each event once. When the manager goes meanwhile, what happened since is asked of the
    next one."""
    asked, shown = request, dict[str, None]()
    while True:
        try:
            async with connected(target) as connection:
                async for event in connection.stream("Events", asked, EventRow):
                    if event.id not in shown and event.id > next(iter(shown), ""):
                        shown[event.id] = None
                        show(event)
                    if len(shown) > REMEMBERED:
                        del shown[next(iter(shown))]
            if not request.follow:
                return
        except Unreachable:
            pass
        await asyncio.sleep(AGAIN)
        asked = msgspec.structs.replace(request, tail=-1) if shown else request


def _json(event: EventRow) -> None:
    print_json(event)


def _line(event: EventRow) -> None:
    cause = f" (caused by {event.cause})" if event.cause else ""
    print_lines(
        [
            f"{event.at} {event.id} {event.kind} {event.object} by {event.principal}: "
            f"{event.text}{cause}"
        ]
    )
