"""Tasks: `ps`."""

from collections.abc import Mapping

from stackd.core.model import fit
from stackd.core.model.api import NameRequest, TaskRow, TaskRows
from stackd.core.model.network import Network
from stackd.core.model.node import NodeReport
from stackd.core.model.release import Revision
from stackd.core.model.times import rfc3339
from stackd.core.model.world import TaskView, World
from stackd.manager.api import names
from stackd.store.tables import Tables
from stackd.wire.control import Caller

KEPT = 5
"""Finished tasks of a slot that `--all` shows."""


class TaskApi:
    """Handlers about tasks."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def ps(self, request: NameRequest, caller: Caller) -> TaskRows:
        """Tasks of everything, a stack, a service, or one."""
        world = self._tables.world
        found = names.tasks_named(world, request.name)
        shown = [t for t in found if t.live] + (_finished(found) if request.all else [])
        counts = in_flight(world)
        rows = [_row(world, t, counts) for t in shown]
        return TaskRows(tasks=tuple(sorted(rows, key=_order)))


def in_flight(world: World) -> Mapping[str, int]:
    """Task id -> requests and connections on all nodes."""
    totals: dict[str, int] = {}
    for report in world.all(NodeReport):
        for task, count in report.in_flight.items():
            totals[task] = totals.get(task, 0) + count
    return totals


def lost(world: World, view: TaskView) -> str:
    """What has become of a task whose node is down and which nothing has replaced."""
    where = names.node_name(world, view.task.node)
    volume = fit.bound(world, view.task)
    return f"its node {where} is down" + (f", where its volume {volume} is" if volume else "")


def _finished(found: list[TaskView]) -> list[TaskView]:
    by_slot: dict[tuple[str, str, str], list[TaskView]] = {}
    for view in found:
        if not view.live:
            slot = (view.task.stack, view.task.service, view.task.slot)
            by_slot.setdefault(slot, []).append(view)
    kept: list[TaskView] = []
    for views in by_slot.values():
        kept += sorted(views, key=lambda v: v.task.created)[-KEPT:]
    return kept


def _row(world: World, view: TaskView, counts: Mapping[str, int]) -> TaskRow:
    task = view.task
    revision = world.get(Revision, f"{task.stack}/{task.service}/{task.revision}")
    slot = names.slot_name(world, view)
    networks = {str(n.id): n.name for n in world.all(Network)}
    wanted = "shutdown" if view.desired.stop else view.desired.state.label
    return TaskRow(
        id=task.id,
        stack=task.stack,
        service=task.service,
        slot=int(slot) if slot.isdigit() else slot,
        revision=task.revision,
        node=names.node_name(world, task.node),
        state=view.status.state.label,
        desired_state=wanted,
        health=view.status.health.value,
        in_flight=counts.get(task.id, 0),
        addresses={networks.get(n, n): a for n, a in sorted(task.addresses.items())},
        image=revision.image_name if revision else "",
        error=_error(world, view),
        since=rfc3339(view.status.at or task.created),
    )


def _error(world: World, view: TaskView) -> str:
    if view.live and fit.lost(world, view):
        return lost(world, view)
    return view.status.error or (view.desired.reason if view.desired.stop else "")


def _order(row: TaskRow) -> tuple[str, str, bool, int, str, str]:
    number = row.slot if isinstance(row.slot, int) else 0
    return (row.stack, row.service, isinstance(row.slot, str), number, str(row.slot), row.since)
