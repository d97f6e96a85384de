"""`stackd plan`: the numbered changes that `apply` would make."""

from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.files import Asked, render
from stackd.cli.options import Files, Output, checked_output, where
from stackd.cli.output import die, print_json, print_lines
from stackd.cli.target import Target
from stackd.core.model.api import PlanAnswer, PlanRequest, PlansAnswer
from stackd.errors import Refused

Repo = Annotated[str, typer.Option("--repo", help="Plan what a repository declares.")]
Commit = Annotated[str, typer.Option("--commit", help="At this commit.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("plan")
    def plan(
        context: typer.Context,
        files: Files = None,
        name: Annotated[str, typer.Option("--name", help="The stack's name.")] = "",
        repo: Repo = "",
        commit: Commit = "",
        lenient: Annotated[bool, typer.Option("--lenient")] = False,
        pull: Annotated[bool, typer.Option("--pull", help="Resolve all tags again.")] = False,
        output: Output = "text",
    ) -> None:
        """Show what apply would do. Example: stackd plan -f stack.yml"""
        checked_output(output)
        asked = Asked(files or [], name, lenient)
        plans = ask(where(context), asked, PlanRequest(repo=repo, commit=commit, pull=pull))
        if output == "json":
            print_json(plans.plans[0] if not repo and plans.plans else plans)
        else:
            for one in plans.plans:
                print_lines(_text(one))
        if plans.problems:
            die(1, "\n".join(plans.problems))
        raise SystemExit(1 if any(p.infeasible for p in plans.plans) else 0)


def ask(target: Target, asked: Asked, request: PlanRequest) -> PlansAnswer:
    """The plans of files, or of a repository."""
    if request.repo:
        if asked.files:
            raise Refused("-f and --repo exclude each other.", "Give one of them.")
        return call(target, "Diff", request, PlansAnswer, "Planning")
    bundle = render(asked)
    wanted = PlanRequest(spec=bundle.spec, contents=bundle.contents, pull=request.pull)
    return PlansAnswer(plans=(call(target, "Plan", wanted, PlanAnswer, "Planning"),))


def _text(plan: PlanAnswer) -> list[str]:
    if not plan.changed:
        return [f"{plan.stack}: nothing to change (release {plan.release}).", *plan.notes]
    lines = [f"{plan.stack}, against release {plan.release}:"]
    for change in plan.changes:
        lines.append(f"  {change.number}. {change.text}")
        lines.append(f"     because  {change.cause}")
        lines.append(f"     effect   {change.effect}")
    lines += [f"  ! {reason}" for reason in plan.infeasible]
    lines += list(plan.notes)
    lines.append(f"plan {plan.plan_hash}")
    return lines
