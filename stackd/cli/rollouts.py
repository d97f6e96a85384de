"""The verbs that steer a rollout: promote, abort, pause, resume, retry, rollback."""

from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, Timeout, Wait, checked_output, duration, where
from stackd.cli.output import emit, print_lines
from stackd.cli.wait import wait_for
from stackd.core.model.api import RolloutAnswer, RolloutRequest, WaitRequest

_VERBS = {
    "abort": "Stop a rollout and go back to the stable revision; the new one is held.",
    "pause": "Stop a rollout where it is.",
    "resume": "Go on with a paused rollout.",
    "retry": "Lift the hold of a refused revision and roll it out again.",
}


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    for verb, text in _VERBS.items():
        _add(app, verb, text)

    @app.command("promote")
    def promote(
        context: typer.Context,
        name: Annotated[str, typer.Argument(metavar="STACK/SERVICE[/TOGGLE]")],
        full: Annotated[bool, typer.Option("--full", help="Skip all further steps.")] = False,
        wait: Wait = False,
        timeout: Timeout = "15m",
        output: Output = "text",
    ) -> None:
        """Let a rollout that waits for a person go on. Example: stackd promote shop/web"""
        checked_output(output)
        _send(
            context, "promote", RolloutRequest(name=name, full=full), _Wait(wait, timeout, output)
        )

    @app.command("rollback")
    def rollback(
        context: typer.Context,
        name: Annotated[str, typer.Argument(metavar="STACK[/SERVICE]")],
        to: Annotated[
            str, typer.Option("--to", help="A release of the stack, or a revision of the service.")
        ] = "",
        wait: Wait = False,
        timeout: Timeout = "15m",
        output: Output = "text",
    ) -> None:
        """Go back to a release or revision proven before, in one step.

        Example: stackd rollback shop --to 3
        """
        checked_output(output)
        _send(context, "rollback", RolloutRequest(name=name, to=to), _Wait(wait, timeout, output))


class _Wait:
    def __init__(self, wait: bool, timeout: str, output: str) -> None:
        self.wait = wait
        self.timeout = duration(timeout)
        self.output = output


def _add(app: typer.Typer, verb: str, text: str) -> None:
    @app.command(verb, help=f"{text} Example: stackd {verb} shop/web (or a toggle: shop/web/cart)")
    def command(
        context: typer.Context,
        name: Annotated[str, typer.Argument(metavar="STACK/SERVICE[/TOGGLE]")],
        wait: Wait = False,
        timeout: Timeout = "15m",
        output: Output = "text",
    ) -> None:
        checked_output(output)
        _send(context, verb, RolloutRequest(name=name), _Wait(wait, timeout, output))


def _send(context: typer.Context, verb: str, request: RolloutRequest, how: _Wait) -> None:
    target = where(context)
    answer = call(target, verb.capitalize(), request, RolloutAnswer)
    if how.wait:
        if how.output == "text":
            print_lines([answer.text])
        asked = WaitRequest(name=request.name, revision=answer.revision, timeout=how.timeout)
        raise SystemExit(wait_for(target, asked, how.output))
    emit(answer, how.output, lambda a: print_lines([a.text]))
