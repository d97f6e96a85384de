"""`stackd history`: the releases of a stack."""

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import print_json
from stackd.cli.table import print_table
from stackd.core.model.api import HistoryRows, NameRequest


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("history")
    def history(context: typer.Context, stack: str, output: Output = "text") -> None:
        """List the releases of a stack, newest first. Example: stackd history shop"""
        checked_output(output)
        rows = call(where(context), "History", NameRequest(name=stack), HistoryRows)
        if output == "json":
            print_json(rows.releases)
            return
        print_table(
            ("release", "state", "commit", "at", "by", "services"),
            (
                (
                    r.release,
                    r.state,
                    r.commit[:12],
                    r.at,
                    r.by,
                    " ".join(f"{s}={v}" for s, v in r.services.items()),
                )
                for r in rows.releases
            ),
        )
