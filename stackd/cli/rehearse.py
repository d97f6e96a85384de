"""Rehearse failures: switch an embedded node off and on, cut it off and connect it again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from stackd.aio.layout import ClusterLayout, NodeLayout
from stackd.cli import embedded
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import emit, print_lines
from stackd.errors import Refused
from stackd.host import cluster, power
from stackd.host.switch import Switch

Name = Annotated[str, typer.Argument(metavar="NODE", help="An embedded node but the first.")]


@dataclass(frozen=True, slots=True)
class Verb:
    """What is done to a node, what it is then, and how that is undone."""

    help: str
    act: Callable[[NodeLayout, Switch], None]
    state: str
    undo: str = ""


VERBS: Mapping[str, Verb] = {
    "kill": Verb(
        "End all of a node at once, as when its power fails; its disk stays.",
        power.off,
        "off",
        "start",
    ),
    "start": Verb(
        "Switch a killed node on; it comes back as after a reboot.",
        lambda node, _: power.on(node),
        "on",
    ),
    "cut": Verb(
        "Take the link of a node down; what runs on it goes on running.",
        lambda node, switch: switch.cut(node, off=True),
        "cut off",
        "heal",
    ),
    "heal": Verb(
        "Bring the link of a node up again.",
        lambda node, switch: switch.cut(node, off=False),
        "connected",
    ),
}


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    for word, verb in VERBS.items():
        _add(app, word, verb)


def _add(app: typer.Typer, word: str, verb: Verb) -> None:
    @app.command(word, help=f"{verb.help}\n\nExample: stackd rehearse {word} node2")
    def command(context: typer.Context, name: Name, output: Output = "text") -> None:
        checked_output(output)
        node, switch = _find(where(context).data, name)
        verb.act(node, switch)
        undo = f" To undo: stackd rehearse {verb.undo} {name}" if verb.undo else ""
        lines = [f"{name} is {verb.state}.{undo}"]
        emit({"node": name, "state": verb.state}, output, lambda _: print_lines(lines))


def _find(data: Path, name: str) -> tuple[NodeLayout, Switch]:
    found = cluster.read(data)
    if found is None:
        raise Refused(f"There is no cluster in {data}.", "Name its folder with --data.")
    layout = ClusterLayout(data, found.id)
    names = [node.name for node in embedded.nodes(layout, found)]
    if name not in names:
        raise Refused(f"{name} is not a node on this machine.", f"Its nodes: {', '.join(names)}.")
    if name == embedded.FIRST:
        raise Refused(f"{name} is this machine itself.", "Choose another node.")
    switch = embedded.switching(layout, found)
    assert switch is not None  # there is another node than the first
    return layout.node(name), switch
