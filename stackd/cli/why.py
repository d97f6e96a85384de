"""`stackd why`: the first thing that is not as it should be, since when, and what comes next."""

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import emit, print_lines
from stackd.core.model.api import NameRequest, WhyAnswer


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("why")
    def why(context: typer.Context, name: str, output: Output = "text") -> None:
        """Say why NAME (stack, STACK/SERVICE, task or node) is as it is.

        Example: stackd why shop/web
        """
        checked_output(output)
        answer = call(where(context), "Why", NameRequest(name=name), WhyAnswer)
        said = f": {answer.text}" if answer.text else ""
        emit(answer, output, lambda a: print_lines((f"{a.name} is {a.phase}{said}", *a.lines)))
