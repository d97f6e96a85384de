"""`stackd status`: what runs, what is wanted, what is in the way; --watch redraws it."""

import asyncio
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from stackd.cli.connect import call, client, run
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import clean, print_json
from stackd.cli.table import pages, style_of
from stackd.cli.target import Target
from stackd.core.model.api import (
    NameRequest,
    RevisionRow,
    ServiceStatus,
    StackStatus,
    StatusAnswer,
    TaskRow,
    TaskRows,
)
from stackd.core.model.stack import StrategyKind


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("status")
    def status(
        context: typer.Context,
        name: Annotated[str, typer.Argument(metavar="[STACK[/SERVICE]]")] = "",
        watch: Annotated[bool, typer.Option("-w", "--watch", help="Redraw on change.")] = False,
        output: Output = "text",
    ) -> None:
        """Show the status of everything, a stack or a service.

        Example: stackd status shop --watch
        """
        checked_output(output)
        target = where(context)
        request = NameRequest(name=name)
        if watch and output == "text":
            run(follow(target, request))
            return
        answer = call(target, "Status", request, StatusAnswer)
        if output == "json":
            print_json(_document(answer, name))
            return
        tasks = call(target, "Ps", request, TaskRows)
        pages().print(draw(answer, tasks.tasks))


def _document(answer: StatusAnswer, name: str) -> object:
    """The documents of the contracts: one service, one stack, or the list of stacks. Freezes, and
    why a newer commit does not run, are told in the reason of each service."""
    stacks = [_plain(stack) for stack in answer.stacks]
    if answer.service and stacks:
        return next(s for s in stacks[0]["services"] if s.service == answer.service)
    return stacks[0] if name and stacks else stacks


def _plain(stack: StackStatus) -> dict[str, Any]:
    services = []
    for service in stack.services:
        more = [text for text in (*stack.frozen, stack.problem) if text not in service.reason]
        reason = "; ".join(filter(None, (service.reason, *more)))
        services.append(msgspec.structs.replace(service, reason=reason))
    own = [key for key in stack.__struct_fields__ if key not in ("frozen", "problem")]
    return {key: getattr(stack, key) for key in own} | {"services": services}


async def follow(target: Target, request: NameRequest) -> None:
    """Redraw at each change, at most five times a second, until Ctrl-C."""
    async with client(target) as connection:
        with Live(console=pages(), auto_refresh=False, screen=False) as live:
            async for answer in connection.stream("Watch", request, StatusAnswer):
                tasks = await connection.call("Ps", request, TaskRows)
                live.update(draw(answer, tasks.tasks), refresh=True)
                await asyncio.sleep(0.2)


def draw(answer: StatusAnswer, tasks: Iterable[TaskRow]) -> Group:
    """The status as a tree: stacks, services, revisions, tasks."""
    rows = list(tasks)
    parts: list[Tree | Text] = [_stack(s, rows, answer.service) for s in answer.stacks]
    if not parts:
        parts.append(Text("No stacks yet. Deploy one: stackd apply -f stack.yml"))
    parts += [Text(clean(line), style="red") for line in answer.troubles]
    parts += [Text(clean(line), style="dim") for line in answer.events]
    return Group(*parts)


def _stack(stack: StackStatus, tasks: list[TaskRow], only: str) -> Tree:
    title = Text(stack.stack, style="bold")
    title.append(f"  {stack.phase}", style=style_of(stack.phase))
    commit = f" commit {stack.commit[:12]}" if stack.commit else ""
    title.append(f"  release {stack.release}{commit}  owner {stack.owner}", style="dim")
    tree = Tree(title)
    for freeze in stack.frozen:
        tree.add(Text(clean(freeze), style="yellow"))
    if stack.problem:
        tree.add(Text(clean(stack.problem), style="red"))
    for service in stack.services:
        if not only or service.service == only:
            _service(tree, service, tasks)
    return tree


_STEPPED = {kind.value for kind in StrategyKind if kind.weighted}


def _service(tree: Tree, service: ServiceStatus, tasks: list[TaskRow]) -> None:
    title = Text(service.service, style="bold")
    title.append(f"  {service.phase}", style=style_of(service.phase))
    title.append(f"  {service.strategy}", style="dim")
    if service.override:
        title.append(f"  override {dict(service.override)}", style="yellow")
    branch = tree.add(title)
    if service.reason:
        branch.add(Text(clean(service.reason)))
    for line in _steps(service):
        branch.add(line)
    for hold in service.hold:
        branch.add(Text(clean(hold), style="yellow"))
    for revision in service.revisions:
        leaf = branch.add(_revision(revision))
        for task in tasks:
            own = (task.stack, task.service) == (service.stack, service.service)
            if own and task.revision == revision.id:
                leaf.add(_task(task))


def _steps(service: ServiceStatus) -> list[Text]:
    """The steps of a rollout that has such, while it runs: done, current, still to come."""
    running = service.phase in ("progressing", "paused", "pending")
    if service.strategy not in _STEPPED or not running:
        return []
    lines = []
    for number, step in enumerate(service.steps):
        if number < service.step:
            lines.append(Text(f"✔ {step}", style="green"))
        elif number > service.step:
            lines.append(Text(f"  {step}", style="dim"))
        else:
            lines.append(Text(f"▶ {step}", style="bold"))
    return lines


def _revision(revision: RevisionRow) -> Text:
    text = Text(f"# {revision.id} ", style="cyan")
    text.append(revision.role)
    text.append(f"  {revision.ready}/{revision.desired} ready", style="")
    text.append(f"  {_bar(revision)}  {revision.weight / 100:g}%")
    text.append(f"  {clean(revision.image)}", style="dim")
    return text


def _bar(revision: RevisionRow, width: int = 20) -> str:
    wanted = max(revision.desired, revision.running, 1)
    full = round(width * min(revision.ready, wanted) / wanted)
    return "█" * full + "░" * (width - full)


def _task(task: TaskRow) -> Text:
    text = Text(f"{task.slot} {task.id} ", style="")
    text.append(task.state, style=style_of(task.state))
    if task.health != "none":
        text.append(f" {task.health}", style=style_of(task.health))
    if task.desired_state != "running":
        text.append(" leaving", style="yellow")
    if task.in_flight:
        text.append(f" {task.in_flight} in flight", style="yellow")
    text.append(f"  {task.node}", style="dim")
    if task.error:
        text.append(f"  {clean(task.error)}", style="red")
    return text
