"""`stackd down`: stop the cluster on this machine; with --purge remove every trace of it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from stackd.aio.layout import ClusterLayout
from stackd.cli import teardown
from stackd.cli.connect import run
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import clean, emit, print_lines
from stackd.cli.progress import progress
from stackd.cli.target import Target
from stackd.core.model.cluster import ClusterFile
from stackd.errors import Refused
from stackd.host import cluster


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("down")
    def down(
        context: typer.Context,
        data: Annotated[Path | None, typer.Option("--data", help="The data folder.")] = None,
        purge: Annotated[
            bool, typer.Option("--purge", help="Remove its data and everything it made.")
        ] = False,
        output: Output = "text",
    ) -> None:
        """Stop containers and everything else of the cluster; its data is kept.

        Example: stackd down
        """
        checked_output(output)
        target = Target(data.resolve()) if data else where(context)
        found = cluster.read(target.data)
        if found is None:
            raise Refused(f"There is no cluster in {target.data}.", "Name its folder with --data.")
        layout = ClusterLayout(target.data, found.id)
        for note in run(_take_down(layout, found, purge=purge)):
            print(clean(note), file=sys.stderr)
        done = "removed, with its data" if purge else f"stopped; its data is in {target.data}"
        document = {"id": found.id, "data": str(target.data), "purged": purge}
        emit(document, output, lambda _: print_lines([f"Cluster {found.id} is {done}."]))


async def _take_down(layout: ClusterLayout, found: ClusterFile, *, purge: bool) -> list[str]:
    async with progress("Stopping containers"):
        return await teardown.take_down(layout, found, purge=purge)
