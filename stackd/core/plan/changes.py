"""The kinds of change a plan is made of. Each says what it is, and what its effect will be."""

from typing import assert_never

from stackd.core.model.record import Value


class FieldChange(Value, frozen=True, kw_only=True, order=True):
    """One field: its path in the stack file, before and after, as text; '' = absent."""

    path: str
    before: str
    after: str

    def __str__(self) -> str:
        if not self.before:
            return f"{self.path}: + {self.after}"
        if not self.after:
            return f"{self.path}: - {self.before}"
        return f"{self.path}: {self.before} -> {self.after}"


class TakeOver(Value, frozen=True, kw_only=True, tag="take-over"):
    """The stack is deployed by hand over its owner's declaration (`apply --override`)."""

    owner: str


class PutContent(Value, frozen=True, kw_only=True, tag="put-content"):
    """A config or secret gets a version; only ids are named, never a value."""

    kind: str
    name: str
    before: str
    after: str


class CreateNetwork(Value, frozen=True, kw_only=True, tag="create-network"):
    """An overlay network is allocated."""

    name: str


class CreateVolume(Value, frozen=True, kw_only=True, tag="create-volume"):
    """A named volume is made where the first task that uses it lands."""

    name: str


class CreateService(Value, frozen=True, kw_only=True, tag="create-service"):
    """A service starts for the first time."""

    service: str
    revision: str
    tasks: str
    strategy: str


class ReplaceRevision(Value, frozen=True, kw_only=True, tag="replace-revision"):
    """A service goes to another revision by its strategy."""

    service: str
    before: str
    after: str
    strategy: str
    fields: tuple[FieldChange, ...]


class RefuseRevision(Value, frozen=True, kw_only=True, tag="refuse-revision"):
    """The declared revision is on hold: the running one stays."""

    service: str
    revision: str
    reason: str


class ChangeInPlace(Value, frozen=True, kw_only=True, tag="change-in-place"):
    """Fields change without replacing a task."""

    service: str
    fields: tuple[FieldChange, ...]


class GrowFeature(Value, frozen=True, kw_only=True, tag="grow-feature"):
    """A toggle gets to a larger share by its steps; `refused`: why it does not."""

    service: str
    feature: str
    before: str
    after: str
    steps: tuple[str, ...]
    refused: str = ""


class ClearOverride(Value, frozen=True, kw_only=True, tag="clear-override"):
    """A value set by hand ends because the declared one changed."""

    service: str
    replicas: int


class RemoveService(Value, frozen=True, kw_only=True, tag="remove-service"):
    """A service is no longer declared."""

    service: str


class RemoveNetwork(Value, frozen=True, kw_only=True, tag="remove-network"):
    """A network is no longer declared."""

    name: str


class ChangeDeclaration(Value, frozen=True, kw_only=True, tag="change-declaration"):
    """Something outside services changed: networks, volumes, labels."""

    fields: tuple[FieldChange, ...]


PlanChange = (
    TakeOver
    | PutContent
    | CreateNetwork
    | CreateVolume
    | CreateService
    | ReplaceRevision
    | RefuseRevision
    | ChangeInPlace
    | GrowFeature
    | ClearOverride
    | ChangeDeclaration
    | RemoveService
    | RemoveNetwork
)


class Described(Value, frozen=True, kw_only=True):
    """A change in words."""

    object: str
    text: str
    cause: str
    effect: str


def describe(stack: str, change: PlanChange) -> Described:
    """What is done to what, why, and with which effect on running tasks."""
    match change:
        case CreateService() | ReplaceRevision() | RefuseRevision() | RemoveService():
            return _describe_service(stack, change)
        case ChangeInPlace() | GrowFeature() | ClearOverride() | ChangeDeclaration():
            return _describe_in_place(stack, change)
        case TakeOver(owner=owner):
            return Described(
                object=stack,
                text=f"deploy by hand over {owner}",
                cause="--override",
                effect=f"holds until {owner} changes this file",
            )
        case PutContent(kind=kind, name=name, before=before, after=after):
            verb = "change" if before else "create"
            return Described(
                object=f"{kind} {name}",
                text=f"{verb} {kind} {name}: {before + ' -> ' if before else ''}{after}",
                cause="content changed" if before else "not there yet",
                effect="services that use it are rolled out" if before else "create",
            )
        case CreateNetwork(name=name) | RemoveNetwork(name=name):
            create = isinstance(change, CreateNetwork)
            return Described(
                object=f"network {name}",
                text=f"{'create' if create else 'remove'} network {name}",
                cause="not there yet" if create else "no longer declared",
                effect="create" if create else "remove, when no task uses it",
            )
        case CreateVolume(name=name):
            return Described(
                object=f"volume {name}",
                text=f"create volume {name}",
                cause="not there yet",
                effect="create, on the node of the first task that uses it",
            )
        case never:
            assert_never(never)


def _describe_service(
    stack: str, change: CreateService | ReplaceRevision | RefuseRevision | RemoveService
) -> Described:
    place = f"{stack}/{change.service}"
    match change:
        case CreateService(revision=revision, tasks=tasks):
            return Described(
                object=place,
                text=f"create {place} at {revision}, {tasks}",
                cause="not there yet",
                effect="create",
            )
        case ReplaceRevision(before=before, after=after, strategy=strategy, fields=fields):
            return Described(
                object=place,
                text=f"replace {before} by {after} in {place}",
                cause="; ".join(map(str, fields)),
                effect=f"rollout: {strategy}",
            )
        case RefuseRevision(revision=revision, reason=reason):
            return Described(
                object=place,
                text=f"keep what runs in {place}: {revision} is on hold",
                cause=reason,
                effect=f"none until `stackd retry {place}`",
            )
        case RemoveService():
            return Described(
                object=place,
                text=f"remove {place}",
                cause="no longer declared",
                effect="remove",
            )
        case never:
            assert_never(never)


def _describe_in_place(
    stack: str, change: ChangeInPlace | GrowFeature | ClearOverride | ChangeDeclaration
) -> Described:
    match change:
        case ChangeInPlace(service=service, fields=fields):
            place = f"{stack}/{service}"
            return Described(
                object=place,
                text=f"change {place} in place",
                cause="; ".join(map(str, fields)),
                effect="in place, no task is replaced",
            )
        case GrowFeature(service=service, feature=feature):
            place = f"{stack}/{service}"
            way = f"{change.before} -> {change.after}"
            steps = f"staged: {', '.join(change.steps)}; no task is replaced"
            retry = f"none until `stackd retry {place}/{feature}`"
            return Described(
                object=place,
                text=f"take toggle {feature} of {place} from {change.before} to {change.after}",
                cause=change.refused or f"features.{feature}.rollout: {way}",
                effect=retry if change.refused else steps,
            )
        case ClearOverride(service=service, replicas=replicas):
            return Described(
                object=f"{stack}/{service}",
                text=f"end the override replicas={replicas} of {stack}/{service}",
                cause="the declared value changed",
                effect="in place",
            )
        case ChangeDeclaration(fields=fields):
            return Described(
                object=stack,
                text=f"change the declaration of {stack}",
                cause="; ".join(map(str, fields)),
                effect="in place, no task is replaced",
            )
        case never:
            assert_never(never)
