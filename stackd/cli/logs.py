"""`stackd logs`: the output of a task, a service or a stack."""

import sys
import time
from typing import Annotated

import typer

from stackd.cli.connect import stream
from stackd.cli.options import Output, checked_output, duration, where
from stackd.cli.output import clean, print_json
from stackd.core.model.api import LogRow, LogsRequest


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("logs")
    def logs(
        context: typer.Context,
        name: Annotated[str, typer.Argument(metavar="STACK[/SERVICE[.SLOT]]|TASK")],
        follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on.")] = False,
        since: Annotated[
            str, typer.Option("--since", help="Only lines younger than this.", metavar="DURATION")
        ] = "",
        tail: Annotated[int, typer.Option("--tail", help="At most so many of each task.")] = -1,
        output: Output = "text",
    ) -> None:
        """Print logs. Example: stackd logs shop/web -f --tail 10"""
        checked_output(output)
        start = time.time() - duration(since) if since else 0.0
        request = LogsRequest(name=name, follow=follow, tail=tail, since=start)
        stream(where(context), "Logs", request, LogRow, _json if output == "json" else _line)


def _json(row: LogRow) -> None:
    print_json(
        {
            "task": row.task,
            "name": row.name,
            "at": row.at,
            "stream": row.stream,
            "text": row.text.decode("utf-8", "replace"),
        }
    )


def _line(row: LogRow) -> None:
    target = sys.stderr if row.stream == "stderr" else sys.stdout
    text = clean(row.text.decode("utf-8", "replace").replace("\t", "        "))
    target.write(f"{row.name} | {text}\n")
    target.flush()
