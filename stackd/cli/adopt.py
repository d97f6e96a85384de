"""`stackd adopt`: hand a stack over to a repository."""

from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import emit, print_lines
from stackd.core.model.api import AdoptRequest, Text


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("adopt")
    def adopt(
        context: typer.Context,
        stack: str,
        repo: Annotated[str, typer.Option("--repo", help="The repository that takes over.")],
        output: Output = "text",
    ) -> None:
        """Make a repository the owner of a stack. Example: stackd adopt shop --repo ops"""
        checked_output(output)
        answer = call(where(context), "Adopt", AdoptRequest(name=stack, repo=repo), Text)
        emit(answer, output, lambda a: print_lines([a.text]))
