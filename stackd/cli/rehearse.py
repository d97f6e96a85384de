"""Rehearse failures: switch an embedded node off and on, cut it off and connect it again."""

from pathlib import Path
from typing import Annotated

import typer

from stackd.aio.layout import RUN_ROOT, ClusterLayout, NodeLayout
from stackd.cli import embedded
from stackd.cli.options import where
from stackd.cli.output import print_lines
from stackd.errors import Refused
from stackd.host import cluster, power
from stackd.host.switch import Switch

Name = Annotated[str, typer.Argument(metavar="NODE", help="An embedded node but the first.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @app.command("kill")
    def kill(context: typer.Context, name: Name) -> None:
        """End all of a node at once, as when its power fails; its disk stays.

        Example: stackd rehearse kill node2
        """
        node, switch = _find(where(context).data, name)
        power.off(node, switch)
        print_lines([f"{name} is off. On again: stackd rehearse start {name}"])

    @app.command("start")
    def start(context: typer.Context, name: Name) -> None:
        """Switch a killed node on: it comes back as after a reboot.

        Example: stackd rehearse start node2
        """
        node, _ = _find(where(context).data, name)
        power.on(node)
        print_lines([f"{name} starts."])

    @app.command("cut")
    def cut(context: typer.Context, name: Name) -> None:
        """Take the link of a node down; everything on it goes on running.

        Example: stackd rehearse cut node2
        """
        node, switch = _find(where(context).data, name)
        switch.cut(node, off=True)
        print_lines([f"{name} is cut off. Connect it again: stackd rehearse heal {name}"])

    @app.command("heal")
    def heal(context: typer.Context, name: Name) -> None:
        """Bring the link of a node up again.

        Example: stackd rehearse heal node2
        """
        node, switch = _find(where(context).data, name)
        switch.cut(node, off=False)
        print_lines([f"{name} is connected."])


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
    return layout.node(name), Switch(layout, found.underlay, RUN_ROOT / "shared")
