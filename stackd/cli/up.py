"""`stackd up`: an embedded cluster on this machine, new or kept."""

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from stackd.aio import proc
from stackd.aio.layout import ClusterLayout
from stackd.cli import embedded, listening, teardown
from stackd.cli.connect import run
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import clean, emit, print_lines
from stackd.cli.progress import Progress, progress
from stackd.cli.status import follow
from stackd.cli.target import Target
from stackd.core.model.api import NameRequest, NodeRows
from stackd.core.model.cluster import ClusterFile
from stackd.errors import Refused, StackdError, Unavailable
from stackd.host import cluster, preflight, supervisor
from stackd.wire.control_client import ControlClient

READY_WITHIN = 60.0
HEARTBEAT = 5.0
MOST_NODES = 31
"""As many gateways fit into a network of the usual size."""


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("up")
    def up(
        context: typer.Context,
        nodes: Annotated[
            int | None,
            typer.Option(
                "--nodes", min=1, max=MOST_NODES, help="How many nodes; adds to a kept one."
            ),
        ] = None,
        data: Annotated[Path | None, typer.Option("--data", help="The data folder.")] = None,
        detach: Annotated[
            bool, typer.Option("-d", "--detach", help="Return when it is ready.")
        ] = False,
        heartbeat: Annotated[
            float, typer.Option("--heartbeat", hidden=True, help="Seconds; for a new cluster.")
        ] = HEARTBEAT,
        listen: Annotated[
            str | None,
            typer.Option("--http-listen", metavar="ADDR", help="Serve the JSON API here too."),
        ] = None,
        cert: Annotated[
            Path | None, typer.Option("--http-cert", help="Its certificate with its chain (PEM).")
        ] = None,
        key: Annotated[Path | None, typer.Option("--http-key", help="Its key (PEM).")] = None,
        output: Output = "text",
    ) -> None:
        """Start a cluster on this machine, or resume the one in the data folder.

        In the foreground it shows the live status until Ctrl-C, which stops it and keeps its
        data. Example: stackd up --detach
        """
        checked_output(output)
        target = Target(data.resolve()) if data else where(context)
        _examine()
        with contextlib.ExitStack() as stack:
            if not _running(target.data):
                stack.enter_context(cluster.alone())
            wanted = listening.Wanted(listen, cert, key)
            listening.check(wanted, cluster.read(target.data))
            layout, found, notes = _prepare(target.data, nodes, heartbeat)
            if (kept := listening.kept(wanted, found)) != found:
                found = kept
                cluster.write(target.data, found)
                cluster.claim(layout.run, found)
                run(teardown.end(embedded.managing(layout)))  # the supervisor starts it again
            for note in notes:
                print(clean(note), file=sys.stderr)
            run(_start(layout, found))
        for finding in run(embedded.firewalls(layout, found)):
            if finding.remedy:
                print(
                    clean(f"{finding.subject}: {finding.text}. {finding.remedy}"), file=sys.stderr
                )
        document = {key: getattr(found, key) for key in found.__struct_fields__}
        emit(document, output, lambda _: print_lines(_ready(target, layout, found)))
        if not detach:
            _show_until_interrupted(target, layout, found)


def _running(data: Path) -> bool:
    """Whether the cluster has a manager now."""
    found = cluster.read(data)
    if found is None:
        return False
    manager = supervisor.running(embedded.managing(ClusterLayout(data, found.id)))
    if manager is not None:
        os.close(manager)
    return manager is not None


def _examine() -> None:
    bad = [f for f in preflight.examine() if f.fatal]
    if bad:
        raise Refused(
            "; ".join(f"{f.subject}: {f.text}" for f in bad) + ".",
            " ".join(dict.fromkeys(f.remedy for f in bad)),
        )


def _prepare(
    data: Path, nodes: int | None, heartbeat: float
) -> tuple[ClusterLayout, ClusterFile, list[str]]:
    found = cluster.read(data)
    notes: list[str] = []
    if found is None:
        found, notes = cluster.create(data, nodes or 1, heartbeat)
    layout = ClusterLayout(data, found.id)
    if _running(data):
        notes.append(f"Cluster {found.id} runs already.")
    else:
        found, taken = cluster.resume(data, found)
        notes += taken
        cluster.claim(layout.run, found)
        embedded.refresh(layout, found)
    if nodes is not None and nodes != found.nodes:
        found = cluster.grow(data, found, nodes)
        notes.append(f"Nodes: {nodes}.")
        run(teardown.end(embedded.supervising(layout)))  # the next one knows of the new nodes
    return layout, found, notes


async def _start(layout: ClusterLayout, found: ClusterFile) -> None:
    """Start the supervisor unless it runs, and wait until every node is ready."""
    program = embedded.supervising(layout)
    handle = supervisor.running(program)
    if handle is not None:
        os.close(handle)
    else:
        program.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        program.pid_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        pid = proc.spawn(program.argv, log=program.log)
        program.pid_file.write_text(f"{pid}\n")
    async with progress("Starting") as shown:
        await _until_ready(layout, found, shown)


async def _until_ready(layout: ClusterLayout, found: ClusterFile, shown: Progress) -> None:
    end = time.monotonic() + READY_WITHIN
    while (state := await _state(layout, found)) != "":
        shown.text = f"Starting: {state}"
        if time.monotonic() > end:
            firewalls = await embedded.firewalls(layout, found)
            shut = [f"{f.text}. {f.remedy}" for f in firewalls if f.remedy]
            raise Unavailable(
                f"The cluster is not ready within {READY_WITHIN:g}s: {_trouble(layout) or state}.",
                " ".join([*shut, f"See the logs in {layout.data / 'logs'}."]),
            )
        await asyncio.sleep(0.05)


def _trouble(layout: ClusterLayout) -> str:
    """The last complaint in the manager's log; '' when there is none."""
    with contextlib.suppress(OSError):
        lines = (layout.data / "logs" / "manager.log").read_text(errors="replace").splitlines()
        bad = [line for line in lines if " WARNING " in line or " ERROR " in line]
        return bad[-1].partition(": ")[2].rstrip(".") if bad else ""
    return ""


async def _state(layout: ClusterLayout, found: ClusterFile) -> str:
    """What is still missing; '' when every node is ready."""
    if not layout.control_socket.exists():
        return "the manager does not answer yet"
    try:
        async with ControlClient(layout.control_socket) as client:
            rows = await client.call("NodeList", NameRequest(), NodeRows, timeout=5)
    except StackdError as error:
        return error.cause.rstrip(".")
    ready = sum(node.state == "ready" and node.id in rows.heard for node in rows.nodes)
    return "" if ready >= found.nodes else f"{ready} of {found.nodes} nodes are ready"


def _ready(target: Target, layout: ClusterLayout, found: ClusterFile) -> list[str]:
    return [
        f"Cluster {found.id} is ready: {_count(found.nodes)}, data in {layout.data}.",
        f"Health and metrics: http://127.0.0.1:{found.http_port}",
        *listening.told(found),
        f"Deploy a stack: stackd{target.option} apply -f stack.yml --wait",
    ]


def _count(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


def _show_until_interrupted(target: Target, layout: ClusterLayout, found: ClusterFile) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        run(follow(target, ""))
    print_lines(["Stopping; the data is kept."])
    run(teardown.take_down(layout, found, purge=False))
