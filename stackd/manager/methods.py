"""Every rpc of the control API and the handler that serves it."""

from collections.abc import Mapping
from dataclasses import dataclass

from stackd.core.model import api
from stackd.manager.api.cluster import ClusterApi
from stackd.manager.api.contents import ContentApi
from stackd.manager.api.deploying import DeployApi
from stackd.manager.api.draining import DrainApi
from stackd.manager.api.events import EventApi
from stackd.manager.api.flags import FlagApi
from stackd.manager.api.freezing import FreezeApi
from stackd.manager.api.history import HistoryApi
from stackd.manager.api.images import ImageApi, RegistryApi
from stackd.manager.api.networks import NetworkApi, VolumeApi
from stackd.manager.api.nodes import NodeApi
from stackd.manager.api.output import OutputApi
from stackd.manager.api.repositories import RepositoryApi
from stackd.manager.api.rollouts import RolloutApi
from stackd.manager.api.stacks import StackApi
from stackd.manager.api.status import StatusApi
from stackd.manager.api.tasks import TaskApi
from stackd.manager.api.waiting import WaitingApi
from stackd.wire.control import Method


@dataclass(frozen=True, slots=True)
class Handlers:
    """One object per noun."""

    cluster: ClusterApi
    contents: ContentApi
    deploying: DeployApi
    draining: DrainApi
    events: EventApi
    freezing: FreezeApi
    flags: FlagApi
    history: HistoryApi
    images: ImageApi
    networks: NetworkApi
    nodes: NodeApi
    output: OutputApi
    registries: RegistryApi
    repositories: RepositoryApi
    rollouts: RolloutApi
    stacks: StackApi
    status: StatusApi
    tasks: TaskApi
    volumes: VolumeApi
    waiting: WaitingApi


def methods(on: Handlers) -> Mapping[str, Method]:
    """rpc -> type of its request and its handler."""
    return {**_stacks(on), **_objects(on)}


def _stacks(on: Handlers) -> Mapping[str, Method]:
    return {
        "Apply": Method(api.ApplyRequest, on.deploying.apply),
        "Plan": Method(api.PlanRequest, on.deploying.plan),
        "ApplyFiles": Method(api.FilesRequest, on.deploying.apply_files),
        "PlanFiles": Method(api.FilesRequest, on.deploying.plan_files),
        "Diff": Method(api.PlanRequest, on.deploying.plan_repository),
        "Compare": Method(api.CompareRequest, on.deploying.compare),
        "Status": Method(api.NameRequest, on.status.status),
        "Watch": Method(api.NameRequest, on.status.watch),
        "Why": Method(api.NameRequest, on.waiting.why),
        "Wait": Method(api.WaitRequest, on.waiting.wait),
        "History": Method(api.NameRequest, on.history.history),
        "Events": Method(api.EventsRequest, on.events.events),
        "List": Method(api.NameRequest, on.stacks.list),
        "Ps": Method(api.NameRequest, on.tasks.ps),
        "Logs": Method(api.LogsRequest, on.output.logs),
        "Exec": Method(api.ExecFrame, on.output.exec),
        "Scale": Method(api.ScaleRequest, on.stacks.scale),
        "Remove": Method(api.RemoveRequest, on.stacks.remove),
        "Adopt": Method(api.AdoptRequest, on.stacks.adopt),
        "Promote": Method(api.RolloutRequest, on.rollouts.promote),
        "Abort": Method(api.RolloutRequest, on.rollouts.abort),
        "Pause": Method(api.RolloutRequest, on.rollouts.pause),
        "Resume": Method(api.RolloutRequest, on.rollouts.resume),
        "Retry": Method(api.RolloutRequest, on.rollouts.retry),
        "Freeze": Method(api.FreezeRequest, on.freezing.freeze),
        "Unfreeze": Method(api.NameRequest, on.freezing.unfreeze),
        "Rollback": Method(api.RolloutRequest, on.rollouts.rollback),
        "FlagList": Method(api.NameRequest, on.flags.list),
        "FlagSet": Method(api.FlagRequest, on.flags.set),
    }


def _objects(on: Handlers) -> Mapping[str, Method]:
    return {
        "RepoAdd": Method(api.RepoAddRequest, on.repositories.add),
        "RepoList": Method(api.NameRequest, on.repositories.list),
        "RepoRemove": Method(api.RepoRequest, on.repositories.remove),
        "RepoSync": Method(api.RepoRequest, on.repositories.sync),
        "Approve": Method(api.ApproveRequest, on.repositories.approve),
        "NodeList": Method(api.NameRequest, on.nodes.list),
        "NodeInspect": Method(api.NameRequest, on.nodes.inspect),
        "NodeWait": Method(api.WaitRequest, on.draining.wait),
        "NodeUpdate": Method(api.NodeRequest, on.nodes.update),
        "ContentCreate": Method(api.ContentRequest, on.contents.create),
        "ContentList": Method(api.ContentRequest, on.contents.list),
        "ContentInspect": Method(api.ContentRequest, on.contents.inspect),
        "ContentRemove": Method(api.ContentRequest, on.contents.remove),
        "NetworkList": Method(api.NameRequest, on.networks.list),
        "NetworkInspect": Method(api.NameRequest, on.networks.inspect),
        "NetworkRemove": Method(api.NameRequest, on.networks.remove),
        "VolumeList": Method(api.NameRequest, on.volumes.list),
        "VolumeInspect": Method(api.NameRequest, on.volumes.inspect),
        "VolumeRemove": Method(api.NameRequest, on.volumes.remove),
        "ImageLoad": Method(api.ImageRequest, on.images.load),
        "ImagePull": Method(api.ImageRequest, on.images.pull),
        "ImageList": Method(api.ImageRequest, on.images.list),
        "ImageInspect": Method(api.ImageRequest, on.images.inspect),
        "ImageRemove": Method(api.ImageRequest, on.images.remove),
        "RegistryLogin": Method(api.LoginRequest, on.registries.login),
        "RegistryList": Method(api.NameRequest, on.registries.list),
        "RegistryLogout": Method(api.NameRequest, on.registries.logout),
        "ClusterShow": Method(api.NameRequest, on.cluster.show),
        "TokenShow": Method(api.TokenRequest, on.cluster.token),
        "TokenRotate": Method(api.TokenRequest, on.cluster.rotate),
        "TokenCreate": Method(api.TokenCreateRequest, on.cluster.create_token),
        "TokenList": Method(api.NameRequest, on.cluster.tokens),
        "TokenRemove": Method(api.NameRequest, on.cluster.remove_token),
        "Version": Method(api.NameRequest, on.cluster.version),
    }
