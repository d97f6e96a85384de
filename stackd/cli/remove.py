"""`stackd rm`: remove a stack."""

from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, Timeout, Wait, checked_output, duration, where
from stackd.cli.output import emit, print_lines
from stackd.cli.wait import wait_for
from stackd.core.model.api import RemoveRequest, Text, WaitRequest


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("rm")
    def remove(
        context: typer.Context,
        stack: str,
        wait: Wait = False,
        timeout: Timeout = "15m",
        volumes: Annotated[bool, typer.Option("--volumes", help="Its volumes too.")] = False,
        output: Output = "text",
    ) -> None:
        """Remove a stack owned by the command line; volumes stay without --volumes.

        Example: stackd rm shop --wait
        """
        checked_output(output)
        target = where(context)
        answer = call(target, "Remove", RemoveRequest(name=stack, volumes=volumes), Text)
        if wait:
            request = WaitRequest(name=stack, removed=True, timeout=duration(timeout))
            raise SystemExit(wait_for(target, request, output))
        emit(answer, output, lambda a: print_lines([a.text]))
