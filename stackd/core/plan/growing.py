"""What a plan says of toggles that get to a larger share by their steps. Called by `make`."""

from collections.abc import Iterator, Sequence

from stackd.core.model.release import Hold
from stackd.core.model.stack import ServiceSpec
from stackd.core.model.world import World
from stackd.core.plan.changes import FieldChange, GrowFeature


def grown(world: World, stack: str, old: ServiceSpec, new: ServiceSpec) -> Iterator[GrowFeature]:
    """Those of a service whose declared share gets larger, and has stages."""
    for name, policy in sorted(new.stages.items()):
        before = old.features[name].share if name in old.features else 0
        after = new.features[name].share
        if after <= before:
            continue
        hold = world.get(Hold, f"{stack}/{new.name}/{name}/{after / 100:g}%")
        yield GrowFeature(
            service=new.name,
            feature=name,
            before=f"{before / 100:g}%",
            after=f"{after / 100:g}%",
            steps=tuple(step.words for step in policy.steps),
            refused=hold.reason if hold is not None else "",
        )


def others(
    fields: Sequence[FieldChange], growing: Sequence[GrowFeature]
) -> tuple[FieldChange, ...]:
    """The fields that are changed beside these."""
    told = {f"features.{change.feature}.share" for change in growing}
    return tuple(field for field in fields if field.path not in told)
