"""`stackd ls`: the stacks."""

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import print_json
from stackd.cli.table import print_table
from stackd.core.model.api import NameRequest, StackRows


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("ls")
    def listing(context: typer.Context, output: Output = "text") -> None:
        """List stacks. Example: stackd ls"""
        checked_output(output)
        rows = call(where(context), "List", NameRequest(), StackRows)
        if output == "json":
            print_json(rows.stacks)
            return
        print_table(
            ("stack", "phase", "ready", "release", "commit", "owner"),
            (
                (s.stack, s.phase, f"{s.ready}/{s.desired}", s.release, s.commit[:12], s.owner)
                for s in rows.stacks
            ),
        )
