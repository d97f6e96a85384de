"""`stackd plan`: the numbered changes that `apply` would make."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from stackd.cli import simulation
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
        simulated: Annotated[
            bool, typer.Option("--simulate", help="Play the rollouts in virtual time, too.")
        ] = False,
        out: Annotated[
            Path | None, typer.Option("--out", help="Write the plan there, too, as JSON.")
        ] = None,
        output: Output = "text",
    ) -> None:
        """Show what apply would do. Example: stackd plan -f stack.yml"""
        checked_output(output)
        asked = Asked(files or [], name, lenient)
        request = PlanRequest(repo=repo, commit=commit, pull=pull, simulate=simulated)
        plans = ask(where(context), asked, request)
        document = plans.plans[0] if not repo and plans.plans else plans
        if out:
            out.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        if output == "json":
            print_json(document)
        else:
            for one in plans.plans:
                print_lines(_text(one))
        if faults := problems(plans):
            die(1, "\n".join(faults))
        raise SystemExit(1 if any(map(_hindered, plans.plans)) else 0)


def ask(target: Target, asked: Asked, request: PlanRequest) -> PlansAnswer:
    """The plans of files, or of a repository."""
    if request.repo:
        if asked.files:
            raise Refused("-f and --repo exclude each other.", "Give one of them.")
        return call(target, "Diff", request, PlansAnswer, "Planning")
    bundle = render(asked)
    wanted = msgspec.structs.replace(request, spec=bundle.spec, contents=bundle.contents)
    return PlansAnswer(plans=(call(target, "Plan", wanted, PlanAnswer, "Planning"),))


def problems(plans: PlansAnswer) -> list[str]:
    """What is declared and could not be planned: files with faults, images not found."""
    return [*plans.problems, *(text for plan in plans.plans for text in plan.failed)]


def _hindered(plan: PlanAnswer) -> bool:
    """Apply would refuse it, or it would not end well."""
    return bool(plan.infeasible or (plan.simulation and plan.simulation.blocked))


def _text(plan: PlanAnswer) -> list[str]:
    played = [*simulation.lines(plan.simulation)] if plan.simulation else []
    if not plan.changed:
        lines = [f"{plan.stack}: nothing to change (release {plan.release}).", *plan.notes]
        return [*lines, *(played if plan.simulation and plan.simulation.steps else [])]
    lines = [f"{plan.stack}, against release {plan.release}:"]
    for change in plan.changes:
        lines.append(f"  {change.number}. {change.text}")
        lines.append(f"     because  {change.cause}")
        lines.append(f"     effect   {change.effect}")
    lines += [f"  ! {reason}" for reason in plan.infeasible]
    lines += [*plan.notes, *played]
    lines.append(f"plan {plan.plan_hash}")
    return lines
