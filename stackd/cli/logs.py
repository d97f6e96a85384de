"""`stackd logs`: the output of a task, a service or a stack."""

import sys
import time
from typing import Annotated, TextIO

import typer

from stackd.cli.connect import stream
from stackd.cli.options import Output, checked_output, duration, where
from stackd.cli.output import clean, print_json
from stackd.core.model.api import LogRow, LogRows, LogsRequest


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
        shown = _print_json if output == "json" else Printer(sys.stdout, sys.stderr).show
        stream(where(context), "Logs", request, LogRows, shown)


def _print_json(page: LogRows) -> None:
    for row in page.rows:
        print_json(
            {
                "task": row.task,
                "name": row.name,
                "at": row.at,
                "stream": row.stream,
                "text": row.text.decode("utf-8", "replace"),
                "partial": row.partial,
            }
        )


class Printer:
    """Rows as lines of text. What a task wrote without a newline is continued where it stands,
    unless another task or stream has spoken meanwhile."""

    def __init__(self, out: TextIO, errors: TextIO) -> None:
        self._out = out
        self._errors = errors
        self._open: tuple[str, str] | None = None

    def show(self, page: LogRows) -> None:
        """Print rows that came at once."""
        for row in page.rows:
            self._show(row)
        self._errors.flush()
        self._out.flush()

    def _show(self, row: LogRow) -> None:
        place = (row.task, row.stream)
        begin = "" if self._open == place else f"{row.name} | "
        if self._open is not None and begin:
            self._target(self._open[1]).write("\n")
        text = clean(row.text.decode("utf-8", "replace").replace("\t", "        "))
        end = "" if row.partial else "\n"
        self._target(row.stream).write(f"{begin}{text}{end}")
        self._open = place if row.partial else None

    def _target(self, stream_name: str) -> TextIO:
        return self._errors if stream_name == "stderr" else self._out
