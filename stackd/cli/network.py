"""Overlay networks: list, inspect, remove."""

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import emit, print_json, print_lines
from stackd.cli.table import print_table
from stackd.core.model.api import NameRequest, NetworkRows, Text


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @app.command("ls")
    def listing(context: typer.Context, output: Output = "text") -> None:
        """List networks. Example: stackd network ls"""
        checked_output(output)
        _show(call(where(context), "NetworkList", NameRequest(), NetworkRows), output)

    @app.command("inspect")
    def inspect(context: typer.Context, name: str, output: Output = "text") -> None:
        """Show one network. Example: stackd network inspect shop_default"""
        checked_output(output)
        _show(call(where(context), "NetworkInspect", NameRequest(name=name), NetworkRows), output)

    @app.command("rm")
    def remove(context: typer.Context, name: str, output: Output = "text") -> None:
        """Remove a network that no stack declares. Example: stackd network rm shop_default"""
        checked_output(output)
        answer = call(where(context), "NetworkRemove", NameRequest(name=name), Text)
        emit(answer, output, lambda a: print_lines([a.text]))


def _show(rows: NetworkRows, output: str) -> None:
    if output == "json":
        print_json(rows.networks)
        return
    print_table(
        ("name", "id", "stack", "subnet", "vni", "used"),
        ((n.name, n.id, n.stack, n.subnet, n.vni, f"{n.used}/{n.size}") for n in rows.networks),
    )
