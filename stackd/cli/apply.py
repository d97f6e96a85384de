"""`stackd apply`: deploy a stack file."""

import sys
from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.files import Asked, render
from stackd.cli.options import Files, Output, Timeout, Wait, checked_output, duration, where
from stackd.cli.output import clean, die, print_json, print_lines
from stackd.cli.wait import wait_for
from stackd.core.model.api import ApplyAnswer, ApplyRequest, WaitRequest

DOCUMENT = ("stack", "release", "changed", "plan_hash")
"""Keys of `-o json`; notes and failures go to standard error."""


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("apply")
    def apply(
        context: typer.Context,
        files: Files = None,
        name: Annotated[str, typer.Option("--name", help="The stack's name.")] = "",
        wait: Wait = False,
        timeout: Timeout = "15m",
        plan: Annotated[str, typer.Option("--plan", help="Only if the plan has this hash.")] = "",
        pull: Annotated[bool, typer.Option("--pull", help="Resolve all tags again.")] = False,
        override: Annotated[
            bool, typer.Option("--override", help="Although a repository owns the stack.")
        ] = False,
        lenient: Annotated[bool, typer.Option("--lenient")] = False,
        output: Output = "text",
    ) -> None:
        """Deploy a stack. Example: stackd apply -f stack.yml --wait

        Exit codes with --wait: 0 done, 2 failed or rolled back, 3 waits for a person, 4 timeout,
        5 superseded.
        """
        checked_output(output)
        seconds = duration(timeout)
        target = where(context)
        bundle = render(Asked(files or [], name, lenient))
        request = ApplyRequest(
            spec=bundle.spec,
            contents=bundle.contents,
            plan_hash=plan,
            pull=pull,
            override=override,
        )
        doing = f"Resolving the images of {bundle.spec.name} and planning"
        # What is declared already is no change; but with it done, `plan` would be stale.
        answer = call(target, "Apply", request, ApplyAnswer, doing, twice=not plan)
        if output == "json":
            for note in answer.notes:
                print(clean(note), file=sys.stderr)
        if output == "json" and not wait:
            print_json({key: getattr(answer, key) for key in DOCUMENT})
        elif output != "json":
            print_lines(_text(answer, wait))
        if answer.failed:
            die(1, "\n".join(answer.failed))
        if wait:
            asked = WaitRequest(name=answer.stack, release=answer.release, timeout=seconds)
            raise SystemExit(wait_for(target, asked, output))


def _text(answer: ApplyAnswer, wait: bool) -> list[str]:
    if not answer.changed:
        return [*answer.notes, f"{answer.stack}: nothing to change (release {answer.release})."]
    lines = [*answer.notes, f"{answer.stack}: release {answer.release} is declared."]
    if not wait:
        lines.append(f"Wait for it: stackd wait {answer.stack} --release {answer.release}")
    return lines
