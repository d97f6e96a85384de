"""Named volumes: list, inspect, remove."""

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import emit, print_json, print_lines
from stackd.cli.table import print_table
from stackd.core.model.api import NameRequest, Text, VolumeRows


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @app.command("ls")
    def listing(context: typer.Context, output: Output = "text") -> None:
        """List volumes. Example: stackd volume ls"""
        checked_output(output)
        _show(call(where(context), "VolumeList", NameRequest(), VolumeRows), output)

    @app.command("inspect")
    def inspect(context: typer.Context, name: str, output: Output = "text") -> None:
        """Show one volume. Example: stackd volume inspect shop_data"""
        checked_output(output)
        _show(call(where(context), "VolumeInspect", NameRequest(name=name), VolumeRows), output)

    @app.command("rm")
    def remove(context: typer.Context, name: str, output: Output = "text") -> None:
        """Remove a volume, with its data, that no task uses. Example: stackd volume rm shop_data"""
        checked_output(output)
        answer = call(
            where(context), "VolumeRemove", NameRequest(name=name), Text, f"Removing {name}"
        )
        emit(answer, output, lambda a: print_lines([a.text]))


def _show(rows: VolumeRows, output: str) -> None:
    if output == "json":
        print_json(rows.volumes)
        return
    print_table(
        ("name", "node", "stack", "created", "used by"),
        ((v.name, v.node, v.stack, v.created, " ".join(v.used_by)) for v in rows.volumes),
    )
