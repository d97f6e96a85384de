"""The status as a tree: stacks, services, what a rollout does, revisions, tasks, events.

Called by `status`, once or at each change.
"""

from collections.abc import Iterable, Sequence

from rich.console import Group
from rich.text import Text
from rich.tree import Tree

from stackd.cli import evidence
from stackd.cli.output import clean
from stackd.cli.simulation import span
from stackd.cli.table import style_of, with_icon
from stackd.core.model.api import (
    FlagRow,
    RevisionRow,
    RolloutRow,
    ServiceStatus,
    StackStatus,
    StatusAnswer,
    TaskLife,
    TaskRow,
)

_ACTIVE = ("waiting", "progressing", "paused", "rolling_back")
_Tasks = Sequence[tuple[TaskRow, TaskLife | None]]


def draw(answer: StatusAnswer, tasks: Iterable[TaskRow], foot: Sequence[str] = ()) -> Group:
    """All of it; `foot` comes last."""
    rows = [(task, answer.lives.get(task.id)) for task in tasks]
    parts: list[Tree | Text] = [_stack(s, rows, answer.service) for s in answer.stacks]
    if not parts:
        parts.append(Text("No stacks yet. Deploy one: stackd apply -f stack.yml"))
    parts += [Text(clean(line), style="red") for line in answer.troubles]
    parts += [Text(clean(line), style="dim") for line in answer.events]
    parts += [Text(clean(line), style="bold") for line in foot]
    return Group(*parts)


def _stack(stack: StackStatus, tasks: _Tasks, only: str) -> Tree:
    title = Text(stack.stack, style="bold")
    title.append(f"  {with_icon(stack.phase)}", style=style_of(stack.phase))
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


def _service(tree: Tree, service: ServiceStatus, tasks: _Tasks) -> None:
    title = Text(service.service, style="bold")
    title.append(f"  {with_icon(service.phase)}", style=style_of(service.phase))
    title.append(f"  {service.strategy}", style="dim")
    if service.override:
        title.append(f"  override {dict(service.override)}", style="yellow")
    branch = tree.add(title)
    if service.reason:
        branch.add(Text(clean(service.reason)))
    going = service.rollout
    if going is not None and going.phase in _ACTIVE:
        branch.add(_begun(going, service.reason))
        if stepped(service):
            place = f"{service.stack}/{service.service}"
            for line in _steps(place, service.steps, service.step, going):
                branch.add(line)
        for words in going.steering:
            branch.add(Text(clean(words), style="cyan"))
    if going is not None and (going.phase in _ACTIVE or service.hold):
        for analysis in service.analyses:
            leaf = branch.add(evidence.analysis(analysis))
            for line in evidence.figures(analysis):
                leaf.add(line)
        if service.variants is not None:
            leaf = branch.add(evidence.goal(service.variants))
            for variant in service.variants.variants:
                leaf.add(evidence.variant(variant))
    for toggle in service.features:
        _toggle(branch, toggle)
    for hold in service.hold:
        branch.add(Text(clean(hold), style="yellow"))
    for revision in service.revisions:
        leaf = branch.add(_revision(revision, service))
        for task, life in tasks:
            own = (task.stack, task.service) == (service.stack, service.service)
            if own and task.revision == revision.id:
                leaf.add(_task(task, life))


def _begun(going: RolloutRow, reason: str) -> Text:
    """What goes where, unless the reason says it; since when, on whose word."""
    way = f"{going.source or 'nothing'} -> {going.target}"
    text = Text("" if way in reason else f"{way}  ", style="dim")
    text.append(f"release {going.release}")
    if going.commit:
        text.append(f"  commit {going.commit[:12]}")
    by = f" by {clean(going.by)}" if going.by else ""
    text.append(f"  began {going.started}{by}")
    if going.promoted:
        text.append(f"; promoted by {clean(', '.join(going.promoted))}")
    return text


def stepped(service: ServiceStatus) -> bool:
    """The rollout has steps and is on its way through them."""
    going = service.rollout
    running = service.phase in ("progressing", "paused", "pending")
    stepless = going is None or going.source == "" or service.strategy in ("rolling", "recreate")
    return running and not stepless


def _steps(place: str, steps: Sequence[str], done: int, going: RolloutRow) -> list[Text]:
    """The steps of a rollout that has such, while it runs: done, current, still to come."""
    lines = []
    for number, step in enumerate(steps):
        if number < done:
            lines.append(Text(f"✔ {step}", style="green"))
        elif number > done:
            lines.append(Text(f"  {step}", style="dim"))
        else:
            line = Text(f"▶ {step}", style="bold")
            line.append(_waits(place, going), style="yellow")
            lines.append(line)
    return lines


def _waits(place: str, going: RolloutRow) -> str:
    match going.waits_for:
        case "person":
            return f"  waits for you: stackd promote {place}"
        case "time":
            return f"  {span(round(going.pause_left))} left"
        case "analysis":
            return "  waits for its verdict"
    return ""


def _toggle(tree: Tree, toggle: FlagRow) -> None:
    """A toggle; under it the way to its share, while it is on it or after it was refused."""
    branch = tree.add(_toggle_line(toggle))
    going = toggle.rollout
    if toggle.phase in ("", "healthy") or going is None:
        return
    branch.add(Text(clean(toggle.reason)))
    if going.phase in _ACTIVE:
        branch.add(_begun(going, toggle.reason))
        if going.phase != "rolling_back":
            place = f"{toggle.stack}/{toggle.service}/{toggle.feature}"
            for line in _steps(place, toggle.steps, toggle.step, going):
                branch.add(line)
    for analysis in toggle.analyses:
        leaf = branch.add(evidence.analysis(analysis))
        for line in evidence.figures(analysis):
            leaf.add(line)


def _toggle_line(toggle: FlagRow) -> Text:
    text = Text(f"toggle {toggle.feature} ", style="")
    text.append(f"{toggle.share / 100:g}%", style="bold")
    if toggle.override:
        text.append(f" set by {clean(str(toggle.override['by']))}", style="yellow")
        text.append(f", declared {toggle.declared / 100:g}%", style="yellow")
    elif toggle.share != toggle.declared:
        text.append(f" of {toggle.declared / 100:g}% declared", style="yellow")
    if toggle.phase and toggle.phase != "healthy":
        text.append(f"  {with_icon(toggle.phase)}", style=style_of(toggle.phase))
    if toggle.rules:
        text.append(f"  {clean('; '.join(toggle.rules))}", style="dim")
    if toggle.stale:
        text.append("  stale", style="yellow")
    if toggle.unused:
        text.append("  unused", style="yellow")
    return text


def _revision(revision: RevisionRow, service: ServiceStatus) -> Text:
    """Its part of the traffic as it acts, as it is wanted when that differs, and as measured."""
    wanted = service.weights.get(revision.id)
    text = Text(f"# {revision.id} ", style="cyan")
    text.append(revision.role)
    text.append(f"  {revision.ready}/{revision.desired} ready", style="")
    text.append(f"  {_bar(revision)}  {revision.weight / 100:g}%")
    if wanted is not None and wanted != revision.weight:
        text.append(f" of {wanted / 100:g}% wanted", style="yellow")
    total = sum(service.measured.values())
    if total:
        share = service.measured.get(revision.id, 0) / total
        text.append(f"  measured {share:.2%} of {total:,}", style="dim")
    left = service.kept_warm.get(revision.id)
    if left is not None:
        text.append(f"  kept warm, stops in {span(max(0, round(left)))}", style="yellow")
    text.append(f"  {clean(revision.image)}", style="dim")
    return text


def _bar(revision: RevisionRow, width: int = 20) -> str:
    """Its share of the traffic."""
    full = round(width * revision.weight / 10_000)
    return "█" * full + "░" * (width - full)


def _task(task: TaskRow, life: TaskLife | None) -> Text:
    text = Text(f"{task.slot} {task.id} ", style="")
    text.append(task.state, style=style_of(task.state))
    if task.health != "none":
        text.append(f" {task.health}", style=style_of(task.health))
    if task.desired_state != "running":
        text.append(" leaving", style="yellow")
    if task.in_flight:
        text.append(f" {task.in_flight} in flight", style="yellow")
    text.append(f"  {task.node}", style="dim")
    if life is not None:
        text.append(f"  {_age(life.age)}", style="dim")
        if life.restarts:
            text.append(f"  restarts: {life.restarts}", style="yellow")
    if task.error:
        text.append(f"  {clean(task.error)}", style="red")
    return text


def _age(seconds: float) -> str:
    """In its largest unit, as lists of tasks show it."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size:g}{unit}"
    return f"{seconds:.0f}s"
