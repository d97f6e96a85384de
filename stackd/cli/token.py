"""Join tokens: show, rotate."""

from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import emit, print_lines
from stackd.core.model.api import Text, TokenRequest

Role = Annotated[str, typer.Argument(metavar="worker|manager")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @app.command("show")
    def show(context: typer.Context, role: Role, output: Output = "text") -> None:
        """Print the token that lets a machine join. Example: stackd token show worker"""
        _ask(context, "TokenShow", role, output)

    @app.command("rotate")
    def rotate(context: typer.Context, role: Role, output: Output = "text") -> None:
        """Make a token void and print the new one; members stay members.

        Example: stackd token rotate worker
        """
        _ask(context, "TokenRotate", role, output)


def _ask(context: typer.Context, method: str, role: str, output: str) -> None:
    checked_output(output)
    answer = call(where(context), method, TokenRequest(role=role), Text)
    document = {"role": role, "token": answer.text}
    emit(document, output, lambda a: print_lines([a["token"]]))
