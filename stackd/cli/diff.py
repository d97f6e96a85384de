"""`stackd diff`: declared against wanted, or what a pull request changes. Exit code 0 same, 1
differs, 2 error."""

from typing import Annotated

import typer

from stackd.cli import pullrequest
from stackd.cli.files import Asked
from stackd.cli.options import Files, Output, checked_output, where
from stackd.cli.output import die, print_error, print_json, print_lines
from stackd.cli.plan import Commit, Repo, ask, problems
from stackd.cli.repo import variables
from stackd.core.model.api import CompareRequest, PlanAnswer, PlanRequest
from stackd.errors import Refused, StackdError

Base = Annotated[
    str, typer.Option("--base", metavar="REV", help="What a pull request goes to; with --head.")
]
Head = Annotated[
    str, typer.Option("--head", metavar="REV", help="The pull request's branch or commit.")
]
Folder = Annotated[str, typer.Option("--path", help="With --base: folder with the stack files.")]
Vars = Annotated[list[str] | None, typer.Option("--var", metavar="K=V", help="With --base.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("diff")
    def diff(
        context: typer.Context,
        files: Files = None,
        name: Annotated[str, typer.Option("--name", help="The stack's name.")] = "",
        repo: Repo = "",
        commit: Commit = "",
        base: Base = "",
        head: Head = "",
        path: Folder = "",
        var: Vars = None,
        lenient: Annotated[bool, typer.Option("--lenient")] = False,
        output: Output = "text",
    ) -> None:
        """Show what differs from what is declared, or what a pull request changes, as Markdown.

        With --base and --head it needs neither root nor a cluster: it reads the clone in the
        current folder; with --repo what the cluster follows.

        Example: stackd diff -f stack.yml

        Example: stackd diff --base main --head feature
        """
        try:
            checked_output(output)
            asked = Asked(files or [], name, lenient)
            if base or head:
                _check(asked, commit)
                clone = pullrequest.Clone(path, name, variables(var or []))
                if repo and clone != pullrequest.Clone():
                    raise Refused("--repo knows --path, --name and --var.", "Leave them out.")
                revisions = CompareRequest(repo=repo, base=base, head=head)
                pullrequest.show(where(context), revisions, clone, output)
            plans = ask(where(context), asked, PlanRequest(repo=repo, commit=commit))
        except StackdError as error:
            print_error(error)
            raise SystemExit(2) from error
        if output == "json":
            print_json(plans.plans[0] if not repo and plans.plans else plans)
        else:
            for plan in plans.plans:
                if differs(plan):
                    print_lines([f"stack {plan.stack}", plan.diff])
        if faults := problems(plans):
            die(2, "\n".join(faults))
        raise SystemExit(1 if any(map(differs, plans.plans)) else 0)


def _check(asked: Asked, commit: str) -> None:
    if asked.files or asked.lenient or commit:
        raise Refused(
            "--base and --head compare two revisions of a repository.",
            "Leave out -f, --lenient and --commit.",
        )


def differs(plan: PlanAnswer) -> bool:
    """Whether anything is declared otherwise; who deploys it is no difference."""
    return any(change.kind != "take-over" for change in plan.changes)
