"""`stackd approve`: let a commit go that waits for a person (`repo add --approve manual`)."""

from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import emit, print_lines
from stackd.core.model.api import ApproveRequest, Text


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("approve")
    def approve(
        context: typer.Context,
        name: Annotated[str, typer.Argument(metavar="REPO")],
        plan: Annotated[str, typer.Argument(metavar="HASH", help="As `stackd repo ls` shows it.")],
        output: Output = "text",
    ) -> None:
        """Deploy the commit that waits in a repository, if its plan is still HASH.

        Example: stackd approve ops 3f2a91bc04de
        """
        checked_output(output)
        request = ApproveRequest(name=name, plan=plan)
        answer = call(where(context), "Approve", request, Text, "Planning again")
        emit(answer, output, lambda a: print_lines([a.text]))
