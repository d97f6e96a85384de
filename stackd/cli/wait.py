"""`stackd wait`, and the waiting that every `--wait` shares. Exit codes: docs/ci.md."""

import asyncio
import sys
import time
from typing import Annotated

import msgspec
import typer

from stackd.cli.connect import AGAIN, connected, run
from stackd.cli.options import Output, Timeout, checked_output, duration, where
from stackd.cli.output import clean, print_json
from stackd.cli.target import Target
from stackd.core.model.api import WaitAnswer, WaitRequest
from stackd.errors import Refused, Unreachable

TIMED_OUT = 4


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("wait")
    def wait(
        context: typer.Context,
        name: Annotated[str, typer.Argument(metavar="STACK[/SERVICE]")],
        release: Annotated[int, typer.Option("--release", help="This release.")] = 0,
        revision: Annotated[str, typer.Option("--revision", help="This revision.")] = "",
        commit: Annotated[
            str, typer.Option("--commit", help="This commit, or equal content.")
        ] = "",
        timeout: Timeout = "15m",
        output: Output = "text",
    ) -> None:
        """Wait for a rollout. Example: stackd wait shop --release 3

        Exit codes: 0 done, 1 error, 2 failed, rolled back or invalid, 3 waits for a person,
        4 timeout, 5 superseded.
        """
        checked_output(output)
        _check(name, release, revision, commit)
        request = WaitRequest(
            name=name, release=release, revision=revision, commit=commit, timeout=duration(timeout)
        )
        raise SystemExit(wait_for(where(context), request, output))


def _check(name: str, release: int, revision: str, commit: str) -> None:
    if sum(map(bool, (release, revision, commit))) > 1:
        raise Refused("--release, --revision and --commit exclude each other.", "Give one of them.")
    if revision and "/" not in name:
        raise Refused(f"{name} is a stack, and a revision is of a service.", "Name STACK/SERVICE.")


def wait_for(target: Target, request: WaitRequest, output: str, method: str = "Wait") -> int:
    """Wait, showing progress on standard error; returns the exit code."""
    last = run(_follow(target, request, method))
    if output == "json":
        print_json(last)
    else:
        print(clean(last.text))
    return last.code


async def _follow(target: Target, request: WaitRequest, method: str) -> WaitAnswer:
    """The last answer. When the manager goes meanwhile, the next one is asked for the rest."""
    end = time.monotonic() + request.timeout
    asked, shown = request, ""
    while True:
        try:
            async with connected(target) as connection:
                async for answer in connection.stream(method, asked, WaitAnswer):
                    if answer.code >= 0:
                        return answer if asked is request else _of_all(answer, request)
                    if answer.text != shown:
                        shown = answer.text
                        print(clean(f"{request.name}: {shown}"), file=sys.stderr)
        except Unreachable:
            print(f"{request.name}: the manager has gone; waiting goes on", file=sys.stderr)
        await asyncio.sleep(AGAIN)
        asked = msgspec.structs.replace(request, timeout=max(0.0, end - time.monotonic()))


def _of_all(answer: WaitAnswer, request: WaitRequest) -> WaitAnswer:
    """The answer to what was asked for the rest of the time, told of the whole."""
    if answer.code != TIMED_OUT:
        return answer
    text = f"not within {request.timeout:g}s: {answer.text.partition(': ')[2]}"
    return msgspec.structs.replace(answer, text=text)
