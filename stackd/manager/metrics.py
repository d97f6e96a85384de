"""What /metrics and /healthz say, read from the tables when asked."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from stackd.core.model.node import NodeReport, NodeStatus
from stackd.core.model.release import Release, Stack
from stackd.core.model.rollout import ServiceState, ToggleState
from stackd.core.model.task import Task
from stackd.store.tables import Tables


class ManagerMetrics(Collector):
    """Gauges over the tables; nothing is kept between two scrapes."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing at registration: the tables may not be open yet."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One family per noun."""
        world = self._tables.world
        yield GaugeMetricFamily(
            "stackd_store_revision", "Newest revision applied", value=world.revision
        )
        yield GaugeMetricFamily(
            "stackd_quarantined_records",
            "Stored records that cannot be read",
            value=len(self._tables.quarantine),
        )
        yield GaugeMetricFamily("stackd_stacks", "Stacks", value=sum(1 for _ in world.all(Stack)))
        yield GaugeMetricFamily(
            "stackd_releases", "Releases kept", value=sum(1 for _ in world.all(Release))
        )
        nodes = GaugeMetricFamily("stackd_nodes", "Nodes by state", labels=["state"])
        for state, count in Counter(s.state.value for s in world.all(NodeStatus)).items():
            nodes.add_metric([state], count)
        yield nodes
        yield self._tasks()
        yield self._rollouts()
        applied = GaugeMetricFamily(
            "stackd_traffic_applied", "Traffic version applied", labels=["node"]
        )
        for report in world.all(NodeReport):
            applied.add_metric([report.id], report.applied)
        yield applied

    def _tasks(self) -> GaugeMetricFamily:
        world = self._tables.world
        family = GaugeMetricFamily(
            "stackd_tasks", "Tasks by service and state", labels=["stack", "service", "state"]
        )
        counts: Counter[tuple[str, str, str]] = Counter()
        for task in world.all(Task):
            view = world.task(task.id)
            if view is not None:
                counts[task.stack, task.service, view.status.state.label] += 1
        for labels, count in counts.items():
            family.add_metric(list(labels), count)
        return family

    def _rollouts(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "stackd_rollouts", "Rollouts by phase", labels=["stack", "service", "phase"]
        )
        world = self._tables.world
        for state in (*world.all(ServiceState), *world.all(ToggleState)):
            if state.rollout is not None:
                family.add_metric([state.stack, state.service, state.rollout.phase.value], 1)
        return family
