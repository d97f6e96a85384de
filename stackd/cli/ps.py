"""`stackd ps`: the tasks, not finished ones unless --all."""

from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import emit, print_json
from stackd.cli.table import print_table
from stackd.core.model.api import NameRequest, TaskRows


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("ps")
    def ps(
        context: typer.Context,
        name: Annotated[str, typer.Argument(metavar="[STACK[/SERVICE]]")] = "",
        every: Annotated[
            bool, typer.Option("-a", "--all", help="Also the last 5 finished of each slot.")
        ] = False,
        output: Output = "text",
    ) -> None:
        """List tasks. Example: stackd ps shop/web"""
        checked_output(output)
        rows = call(where(context), "Ps", NameRequest(name=name, all=every), TaskRows)
        if output == "json":
            print_json(rows.tasks)
        else:
            emit(rows, output, _show)


def _show(rows: TaskRows) -> None:
    print_table(
        ("task", "id", "revision", "node", "state", "health", "in flight", "since", "error"),
        (
            (
                f"{t.stack}/{t.service}.{t.slot}",
                t.id,
                t.revision,
                t.node,
                t.state if t.desired_state == "running" or "shut" in t.state else f"{t.state}*",
                t.health,
                t.in_flight or "",
                t.since,
                t.error,
            )
            for t in rows.tasks
        ),
    )
