"""What is wrong with the cluster itself, as `status` and `why` show it."""

from stackd.core.model.node import NodeReport
from stackd.core.model.world import World
from stackd.manager.api import names
from stackd.store.tables import Tables


def of_cluster(tables: Tables) -> tuple[str, ...]:
    """Of the manager, then of each node."""
    nodes = sorted(report.id for report in tables.world.all(NodeReport))
    return (*of_manager(tables), *(text for n in nodes for text in of_node(tables.world, n)))


def of_manager(tables: Tables) -> tuple[str, ...]:
    """A store that takes no writes: what is shown may be older than what is."""
    if not tables.trouble:
        return ()
    return (f"the manager cannot write, what is shown here may be old: {tables.trouble}",)


def of_node(world: World, node: str) -> tuple[str, ...]:
    """What the node has said of itself."""
    report = world.get(NodeReport, node)
    if report is None:
        return ()
    name = names.node_name(world, node)
    return tuple(f"node {name}: {part}: {text}" for part, text in sorted(report.troubles.items()))
