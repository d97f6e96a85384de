"""`stackd events`: what happened, to what, by whom, caused by which event."""

from typing import Annotated

import typer

from stackd.cli.connect import stream
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import print_json, print_lines
from stackd.core.model.api import EventRow, EventsRequest


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
        stream(where(context), "Events", request, EventRow, _json if output == "json" else _line)


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
