"""Nodes of the cluster: list, inspect, drain, activate, pause, label."""

from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, Timeout, Wait, checked_output, duration, where
from stackd.cli.output import print_json
from stackd.cli.table import print_table
from stackd.cli.wait import wait_for
from stackd.core.model.api import NameRequest, NodeRequest, NodeRows, WaitRequest
from stackd.errors import Refused


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @app.command("ls")
    def listing(context: typer.Context, output: Output = "text") -> None:
        """List nodes. Example: stackd node ls"""
        checked_output(output)
        _show(call(where(context), "NodeList", NameRequest(), NodeRows), output)

    @app.command("inspect")
    def inspect(context: typer.Context, name: str, output: Output = "text") -> None:
        """Show one node. Example: stackd node inspect node1"""
        checked_output(output)
        _show(call(where(context), "NodeInspect", NameRequest(name=name), NodeRows), output)

    app.command("drain")(drain)
    for verb, (availability, text) in _AVAILABILITIES.items():
        _add(app, verb, availability, text)
    app.command("label")(label)


_AVAILABILITIES = {
    "pause": ("pause", "Give a node no new tasks; those it has stay."),
    "activate": ("active", "Let a node get tasks again."),
}
"""Verb -> availability, help."""


def _add(app: typer.Typer, verb: str, availability: str, text: str) -> None:
    @app.command(verb, help=f"{text} Example: stackd node {verb} node1")
    def command(context: typer.Context, name: str, output: Output = "text") -> None:
        _update(context, NodeRequest(name=name, availability=availability), output)


def drain(
    context: typer.Context,
    name: str,
    wait: Wait = False,
    timeout: Timeout = "15m",
    output: Output = "text",
) -> None:
    """Move all tasks off a node, each service at the pace of its rollouts; it gets no new ones.

    With --wait: 0 nothing is left, 3 what is left waits for a person (a volume that is there, no
    other node that may take it), 4 timeout, 5 no longer drained. Example: stackd node drain node1
    """
    checked_output(output)
    request = NodeRequest(name=name, availability="drain")
    if not wait:
        return _update(context, request, output)
    target = where(context)
    call(target, "NodeUpdate", request, NodeRows)
    waiting = WaitRequest(name=name, timeout=duration(timeout))
    raise SystemExit(wait_for(target, waiting, output, "NodeWait"))


def label(
    context: typer.Context,
    name: str,
    settings: Annotated[list[str], typer.Argument(metavar="K=V|K-…")],
    output: Output = "text",
) -> None:
    """Set labels of a node with K=V, remove them with K-.

    Placement finds them as node.labels.K. Example: stackd node label node1 disk=ssd
    """
    _update(context, NodeRequest(name=name, labels=dict(map(_setting, settings))), output)


def _setting(text: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    if equals:
        return key, value
    if text.endswith("-"):
        return text[:-1], None
    raise Refused(f"{text!r} is neither K=V nor K-.", "Example: stackd node label node1 disk=ssd")


def _update(context: typer.Context, request: NodeRequest, output: str) -> None:
    checked_output(output)
    _show(call(where(context), "NodeUpdate", request, NodeRows), output)


def _show(rows: NodeRows, output: str) -> None:
    if output == "json":
        print_json(rows.nodes)
        return
    print_table(
        ("name", "id", "role", "availability", "state", "address", "tasks"),
        ((n.name, n.id, n.role, n.availability, n.state, n.address, n.tasks) for n in rows.nodes),
    )
