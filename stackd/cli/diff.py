"""`stackd diff`: declared against wanted. Exit code 0 same, 1 differs, 2 error."""

from typing import Annotated

import typer

from stackd.cli.files import Asked
from stackd.cli.options import Files, Output, checked_output, where
from stackd.cli.output import die, print_error, print_json, print_lines
from stackd.cli.plan import Commit, Repo, ask
from stackd.core.model.api import PlanAnswer, PlanRequest
from stackd.errors import StackdError


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("diff")
    def diff(
        context: typer.Context,
        files: Files = None,
        name: Annotated[str, typer.Option("--name", help="The stack's name.")] = "",
        repo: Repo = "",
        commit: Commit = "",
        lenient: Annotated[bool, typer.Option("--lenient")] = False,
        output: Output = "text",
    ) -> None:
        """Show what differs from what is declared. Example: stackd diff -f stack.yml"""
        try:
            checked_output(output)
            request = PlanRequest(repo=repo, commit=commit)
            plans = ask(where(context), Asked(files or [], name, lenient), request)
        except StackdError as error:
            print_error(error)
            raise SystemExit(2) from error
        if output == "json":
            print_json(plans.plans[0] if not repo and plans.plans else plans)
        else:
            for plan in plans.plans:
                if differs(plan):
                    print_lines([f"stack {plan.stack}", plan.diff])
        if plans.problems:
            die(2, "\n".join(plans.problems))
        raise SystemExit(1 if any(map(differs, plans.plans)) else 0)


def differs(plan: PlanAnswer) -> bool:
    """Whether anything is declared otherwise; who deploys it is no difference."""
    return any(change.kind != "take-over" for change in plan.changes)
