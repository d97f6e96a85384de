"""Why a node cannot take a task: each filter answers with a short reason, or ''.

Called by `assign`. A new filter is a function here and a line in `STATIC` (facts of the node) or
`DYNAMIC` (what it carries already).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from stackd.core.model import fit
from stackd.core.model.container import Resources
from stackd.core.model.fit import NodeView
from stackd.core.model.stack import Placement
from stackd.core.model.states import Availability, NodeState
from stackd.core.schedule.load import Like, Load


@dataclass(frozen=True)
class Needs:
    """What the tasks of one revision need of a node."""

    service: str
    """`STACK/SERVICE`."""
    placement: Placement
    resources: Resources
    platforms: tuple[tuple[str, str], ...] = ()
    """(os, arch) that the image runs on; empty = any."""
    revision: str = ""
    """Empty: of a service that is only being planned."""

    @cached_property
    def like(self) -> Like:
        """What its tasks are counted by."""
        return Like(self.service, self.revision)


def ready(needs: Needs, view: NodeView) -> str:
    """The node is heard."""
    match view.status.state:
        case NodeState.READY:
            return ""
        case NodeState.DOWN:
            return "down"
        case NodeState.UNKNOWN:
            return "not heard yet"


def availability(needs: Needs, view: NodeView) -> str:
    """The operator lets it take tasks."""
    match view.node.availability:
        case Availability.ACTIVE:
            return ""
        case Availability.PAUSE:
            return "paused"
        case Availability.DRAIN:
            return "being drained"


def platform(needs: Needs, view: NodeView) -> str:
    """The image runs on its system."""
    here = (view.status.os, view.status.arch)
    return "" if not needs.platforms or here in needs.platforms else "with another platform"


def constraints(needs: Needs, view: NodeView) -> str:
    """Placement constraints."""
    for constraint in needs.placement.constraints:
        if not fit.matches(view, constraint):
            sign = "==" if constraint.equal else "!="
            return f"without {constraint.key} {sign} {constraint.value}"
    return ""


def memory(needs: Needs, view: NodeView, load: Load, slot: str) -> str:
    """Reserved memory."""
    wanted = needs.resources.reserve_memory
    return "without memory" if wanted and load.memory + wanted > view.status.memory else ""


def cpus(needs: Needs, view: NodeView, load: Load, slot: str) -> str:
    """Reserved CPUs."""
    wanted = needs.resources.reserve_cpus
    short = wanted and load.cpus + wanted > view.status.cpus + 1e-9
    return "without CPU" if short else ""


def replicas(needs: Needs, view: NodeView, load: Load, slot: str) -> str:
    """max_replicas_per_node, counted in slots."""
    most = needs.placement.max_replicas_per_node
    full = most and load.other_slots(needs.service, slot) >= most
    return f"with {most} of its replicas already" if full else ""


STATIC: tuple[Callable[[Needs, NodeView], str], ...] = (ready, availability, platform, constraints)
DYNAMIC: tuple[Callable[[Needs, NodeView, Load, str], str], ...] = (memory, cpus, replicas)


def fixed(needs: Needs, view: NodeView) -> str:
    """The first reason against a node that its load does not change, or ''."""
    return next((reason for check in STATIC if (reason := check(needs, view))), "")


def room(needs: Needs, view: NodeView, load: Load, slot: str) -> str:
    """The first reason against a node for what it carries, or ''."""
    return next((reason for check in DYNAMIC if (reason := check(needs, view, load, slot))), "")


def explain(reasons: Iterable[str]) -> str:
    """One sentence for why no node takes a task, e.g. `no node has room: 2 without memory`."""
    counted = Counter(reason for reason in reasons if reason)
    if not counted:
        return "no node has joined"
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    text = "; ".join(f"{number} {reason}" for reason, number in ordered)
    return f"no node has room: {text}"
