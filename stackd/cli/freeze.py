"""`stackd freeze` and `unfreeze`: no new rollout begins until they may again."""

from datetime import datetime
from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, duration, where
from stackd.cli.output import emit, print_lines
from stackd.core.model.api import FreezeRequest, NameRequest, Text
from stackd.errors import Refused

Name = Annotated[str, typer.Argument(metavar="[STACK]", help="All stacks without it.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @app.command("freeze")
    def freeze(
        context: typer.Context,
        name: Name = "",
        reason: Annotated[str, typer.Option("--reason", help="Why, for all to see.")] = "",
        until: Annotated[
            str, typer.Option("--until", help="A time like 2030-12-24T18:00, or from now like 8h.")
        ] = "",
        output: Output = "text",
    ) -> None:
        """Let no new rollout begin in STACK, or in any. Abort, rollback and the replacing of lost
        tasks go on. Example: stackd freeze shop --reason 'the fair' --until 8h
        """
        checked_output(output)
        seconds, at = ends(until)
        request = FreezeRequest(name=name, reason=reason, until=at, seconds=seconds)
        answer = call(where(context), "Freeze", request, Text)
        emit(answer, output, lambda a: print_lines([a.text]))

    @app.command("unfreeze")
    def unfreeze(context: typer.Context, name: Name = "", output: Output = "text") -> None:
        """Let rollouts begin again. Example: stackd unfreeze shop"""
        checked_output(output)
        answer = call(where(context), "Unfreeze", NameRequest(name=name), Text)
        emit(answer, output, lambda a: print_lines([a.text]))


def ends(text: str) -> tuple[float, float]:
    """(seconds from now, Unix seconds), one of them 0; a time without an offset is local. Raises
    Refused."""
    if not text:
        return 0.0, 0.0
    try:
        return 0.0, datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    try:
        return duration(text), 0.0
    except Refused as error:
        raise Refused(
            f"{text!r} is no time.", "Write it like 2030-12-24T18:00, 8h or 2d."
        ) from error
