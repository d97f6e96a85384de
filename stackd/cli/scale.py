"""`stackd scale`: an override of the declared number of tasks."""

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import emit, print_lines
from stackd.core.model.api import ScaleRequest, Text
from stackd.errors import Refused


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("scale")
    def scale(context: typer.Context, setting: str, output: Output = "text") -> None:
        """Set STACK/SERVICE=N, or STACK/SERVICE=declared to end the override.

        Example: stackd scale shop/web=5
        """
        checked_output(output)
        name, equals, number = setting.partition("=")
        if not equals or not (number.isdecimal() or number == "declared"):
            raise Refused(
                f"{setting!r} is not STACK/SERVICE=N.", "Example: stackd scale shop/web=5"
            )
        replicas = None if number == "declared" else int(number)
        answer = call(where(context), "Scale", ScaleRequest(name=name, replicas=replicas), Text)
        emit(answer, output, lambda a: print_lines([a.text]))
