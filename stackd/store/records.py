"""Which records the store knows: every table and the class of its records.

A new record class is added here; a test compares this list with the classes in the model.
"""

from collections.abc import Mapping

from stackd.core.model import (
    access,
    analysis,
    cluster,
    event,
    network,
    node,
    record,
    registry,
    release,
    rollout,
    source,
    task,
    toggle,
    traffic,
)

RECORDS: tuple[type[record.Record], ...] = (
    access.ApiToken,
    analysis.Analysis,
    cluster.JoinSecrets,
    event.Event,
    toggle.ToggleOverride,
    network.Network,
    network.ServiceAddresses,
    network.VolumeBinding,
    node.Node,
    node.NodeStatus,
    registry.RegistryLogin,
    release.ContentHead,
    release.ContentVersion,
    release.Digest,
    release.Freeze,
    release.Hold,
    release.Override,
    release.Release,
    release.Revision,
    release.Stack,
    rollout.ToggleState,
    rollout.ServiceState,
    source.CommitReport,
    source.Repository,
    source.RepositoryStatus,
    source.Revert,
    task.Task,
    task.TaskDesired,
    task.TaskStatus,
    traffic.TrafficEntry,
)

BY_TABLE: Mapping[str, type[record.Record]] = {kind.TABLE: kind for kind in RECORDS}


def in_memory(table: str) -> bool:
    """True for tables that are never stored: a new leader collects them again."""
    return table.startswith("mem_")
