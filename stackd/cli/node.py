"""Nodes of the cluster: list, inspect."""

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import print_json
from stackd.cli.table import print_table
from stackd.core.model.api import NameRequest, NodeRows


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @app.command("ls")
    def listing(context: typer.Context, output: Output = "text") -> None:
        """List nodes. Example: stackd node ls"""
        checked_output(output)
        _show(call(where(context), "NodeList", NameRequest(), NodeRows), output)

    @app.command("inspect")
    def inspect(context: typer.Context, name: str, output: Output = "text") -> None:
        """Show one node. Example: stackd node inspect node1"""
        checked_output(output)
        _show(call(where(context), "NodeInspect", NameRequest(name=name), NodeRows), output)


def _show(rows: NodeRows, output: str) -> None:
    if output == "json":
        print_json(rows.nodes)
        return
    print_table(
        ("name", "id", "role", "availability", "state", "address", "tasks"),
        ((n.name, n.id, n.role, n.availability, n.state, n.address, n.tasks) for n in rows.nodes),
    )
