"""What two revisions of a repository declare otherwise, without a cluster: for pull requests.

The earlier one is taken as deployed, and the plan of the later one is made against it. Nothing is
looked up: an image counts as changed when its name does, and values of contents are compared but
never shown.
"""

from collections.abc import Iterator, Mapping
from typing import assert_never

import msgspec

from stackd.core.model.api.compare import CompareLine, CompareStack, FieldRow
from stackd.core.model.record import Value
from stackd.core.model.release import ContentHead, ContentKind, Release, Stack
from stackd.core.model.stack import ContentSpec, StackSpec
from stackd.core.model.world import World
from stackd.core.plan import changes as kinds
from stackd.core.plan.make import Declaration, make_plan

_FIRST, _SECOND = "1", "2"
"""Versions of a content; an external one has the first on both sides."""
_GRANTS = ("configs", "secrets")
_GONE = CompareLine(
    kind="remove-stack",
    object="stack",
    text="its file is gone",
    effect="remove where the repository is followed with --prune, otherwise it stays",
)


class Declared(Value, frozen=True, kw_only=True):
    """One stack as a revision declares it; contents by `config/NAME`, `secret/NAME`."""

    spec: StackSpec
    contents: Mapping[str, bytes] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Declared({self.spec.name})"


def compare(
    before: Mapping[str, Declared], after: Mapping[str, Declared], unread: frozenset[str]
) -> tuple[CompareStack, ...]:
    """Every stack that differs, by name. `unread`: stacks whose later declaration is refused;
    nothing is said of them."""
    found = []
    for name in sorted((before.keys() | after.keys()) - unread):
        lines = tuple(_lines(before.get(name), after.get(name)))
        if lines:
            found.append(CompareStack(stack=name, changes=lines))
    return tuple(found)


def _lines(before: Declared | None, after: Declared | None) -> Iterator[CompareLine]:
    if after is None:
        yield _GONE
        return
    world = _deployed(before) if before else World()
    contents = before.contents if before else {}
    versions = {
        key: _FIRST if contents.get(key, value) == value else _SECOND
        for key, value in after.contents.items()
    }
    plan = make_plan(world, _declaration(after, versions))
    for change in plan.changes:
        yield _line(after.spec.name, change)


def _deployed(declared: Declared) -> World:
    """The tables of a cluster that runs just this."""
    world = World()
    plan = make_plan(world, _declaration(declared, {}))
    name = declared.spec.name
    for revision in plan.revisions:
        world.apply(revision, 1)
    release = Release(stack=name, number=1, spec=plan.spec, services=plan.services)
    world.apply(release, 1)
    world.apply(Stack(name=name, owner=plan.owner, release=1), 1)
    for kind, content in _contents(declared.spec):
        if not content.external:
            world.apply(ContentHead(kind=kind, name=content.name, version=_FIRST), 1)
    return world


def _contents(spec: StackSpec) -> Iterator[tuple[ContentKind, ContentSpec]]:
    for kind, declared in ((ContentKind.CONFIG, spec.configs), (ContentKind.SECRET, spec.secrets)):
        for content in declared.values():
            yield kind, content


def _declaration(declared: Declared, versions: Mapping[str, str]) -> Declaration:
    spec = declared.spec
    known = {f"config/{name}": _FIRST for name in spec.configs}
    known |= {f"secret/{name}": _FIRST for name in spec.secrets}
    images = {name: service.container.image for name, service in spec.services.items()}
    return Declaration(spec=spec, images=images, versions={**known, **versions})


def _line(stack: str, change: kinds.PlanChange) -> CompareLine:
    """The change in words; revision ids are left out, since without digests they are others."""
    words = kinds.describe(stack, change)
    text = words.text
    fields: tuple[kinds.FieldChange, ...] = ()
    match change:
        case kinds.CreateService(service=service, tasks=tasks):
            text = f"create {stack}/{service}, {tasks}"
        case kinds.ReplaceRevision(service=service, fields=found):
            text, fields = f"replace the tasks of {stack}/{service}", found
        case kinds.PutContent(kind=kind, name=name, before=before):
            text = f"{kind} {name}: {'changed' if before else 'new'}"
        case kinds.ChangeInPlace(fields=found) | kinds.ChangeDeclaration(fields=found):
            fields = found
        case (
            kinds.TakeOver()
            | kinds.CreateNetwork()
            | kinds.CreateVolume()
            | kinds.RefuseRevision()
            | kinds.GrowFeature()
            | kinds.ClearOverride()
            | kinds.RemoveService()
            | kinds.RemoveNetwork()
        ):
            pass
        case never:
            assert_never(never)
    return CompareLine(
        kind=str(change.__struct_config__.tag),
        object=words.object,
        text=text,
        effect=words.effect,
        fields=tuple(map(_field, fields)),
    )


def _field(change: kinds.FieldChange) -> FieldRow:
    if change.path in _GRANTS:
        return FieldRow(path=change.path, before="", after="")
    return FieldRow(path=change.path, before=change.before, after=change.after)
