"""`stackd version`."""

import typer

from stackd import __version__
from stackd.cli.options import Output, checked_output
from stackd.cli.output import emit, print_lines


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("version")
    def version(output: Output = "text") -> None:
        """Print the version of this program. Example: stackd version -o json"""
        checked_output(output)
        emit({"version": __version__}, output, lambda a: print_lines([f"stackd {a['version']}"]))
