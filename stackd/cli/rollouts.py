"""The verbs that steer a rollout: promote, abort, pause, resume, retry, rollback."""

from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, Timeout, Wait, checked_output, duration, where
from stackd.cli.output import emit, print_error, print_lines
from stackd.cli.wait import wait_for
from stackd.core.model.api import RolloutAnswer, RolloutRequest, WaitRequest
from stackd.errors import Stale

_VERBS = {
    "abort": "Stop a rollout and go back to the stable revision; the new one is held.",
    "pause": "Stop a rollout where it is.",
    "resume": "Go on with a paused rollout.",
}
_SUPERSEDED = 5
Name = Annotated[str, typer.Argument(metavar="STACK/SERVICE[/TOGGLE]")]
Meant = Annotated[
    str,
    typer.Option("--revision", help="Only the rollout to this one, none that has superseded it."),
]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    for verb, text in _VERBS.items():
        _add(app, verb, text)

    @app.command("promote")
    def promote(
        context: typer.Context,
        name: Name,
        full: Annotated[bool, typer.Option("--full", help="Skip all further steps.")] = False,
        revision: Meant = "",
        wait: Wait = False,
        timeout: Timeout = "15m",
        output: Output = "text",
    ) -> None:
        """Let a rollout that waits for a person go on.

        Example: stackd promote shop/web --revision 3f2a91bc04de
        """
        checked_output(output)
        request = RolloutRequest(name=name, full=full, revision=revision)
        _send(context, "promote", request, _Wait(wait, timeout, output))

    @app.command("retry")
    def retry(
        context: typer.Context,
        name: Name,
        wait: Wait = False,
        timeout: Timeout = "15m",
        output: Output = "text",
    ) -> None:
        """Lift the hold of a refused revision and roll it out again.

        Example: stackd retry shop/web (or a toggle: shop/web/cart)
        """
        checked_output(output)
        _send(context, "retry", RolloutRequest(name=name), _Wait(wait, timeout, output))

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
        name: Name,
        revision: Meant = "",
        wait: Wait = False,
        timeout: Timeout = "15m",
        output: Output = "text",
    ) -> None:
        checked_output(output)
        request = RolloutRequest(name=name, revision=revision)
        _send(context, verb, request, _Wait(wait, timeout, output))


def _send(context: typer.Context, verb: str, request: RolloutRequest, how: _Wait) -> None:
    target = where(context)
    try:
        answer = call(target, verb.capitalize(), request, RolloutAnswer)
    except Stale as error:
        if not how.wait:
            raise
        print_error(error)
        raise SystemExit(_SUPERSEDED) from None
    if how.wait:
        if how.output == "text":
            print_lines([answer.text])
        asked = WaitRequest(name=request.name, revision=answer.revision, timeout=how.timeout)
        raise SystemExit(wait_for(target, asked, how.output))
    emit(answer, how.output, lambda a: print_lines([a.text]))
