"""The difference between what is declared and what a plan would declare, as text to read."""

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec

from stackd.core.model.release import Release, Revision
from stackd.core.model.world import World
from stackd.core.plan.make import Plan


def diff(world: World, plan: Plan) -> str:
    """A unified diff of the two declarations; '' when they are the same. Contents of configs and
    secrets appear only as version ids."""
    release = world.release(plan.stack)
    before = _declared(world, release) if release else {}
    revisions = {revision.service: revision for revision in plan.revisions}
    after = {
        **_outside(plan.spec),
        "services": {
            name: _service(part.spec, revisions[name]) for name, part in plan.services.items()
        },
    }
    lines = difflib.unified_diff(
        _lines(before), _lines(after), f"release {plan.base}", "wanted", lineterm=""
    )
    return "\n".join(lines)


def _declared(world: World, release: Release) -> dict[str, Any]:
    services = {}
    for name, part in release.services.items():
        revision = world.get(Revision, f"{release.stack}/{name}/{part.revision}")
        services[name] = _service(part.spec, revision)
    return {**_outside(release.spec), "services": services}


def _outside(spec: Any) -> dict[str, Any]:
    plain = msgspec.to_builtins(spec)
    plain.pop("services", None)
    return dict(plain)


def _service(spec: Any, revision: Revision | None) -> dict[str, Any]:
    """The spec with the container as it runs: digest and versions filled in."""
    plain = dict(msgspec.to_builtins(spec))
    if revision is not None:
        container = dict(msgspec.to_builtins(revision.container))
        container["image"] = f"{revision.image_name} ({container['image'].rpartition('@')[2][:19]})"
        plain["container"] = container
        plain["revision"] = revision.id
    return plain


def _lines(value: Any, indent: int = 0) -> list[str]:
    """Plain values as indented lines, one leaf a line, keys sorted."""
    pad = "  " * indent
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key in sorted(value):
            item = value[key]
            if isinstance(item, Mapping | list | tuple) and item:
                lines.append(f"{pad}{key}:")
                lines += _lines(item, indent + 1)
            else:
                lines.append(f"{pad}{key}: {_leaf(item)}")
        return lines
    for item in value:
        if isinstance(item, Mapping | list | tuple) and item:
            inner = _lines(item, indent + 1)
            lines.append(f"{pad}- {inner[0].strip()}")
            lines += inner[1:]
        else:
            lines.append(f"{pad}- {_leaf(item)}")
    return lines


def _leaf(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
