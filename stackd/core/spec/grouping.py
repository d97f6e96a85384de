"""What services of one rollout group must have in common. Called by `references`."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from stackd.core.model.stack import ServiceSpec
from stackd.core.model.strategy import Strategy


def faults(services: Mapping[str, ServiceSpec]) -> Iterator[tuple[str, str]]:
    """(service, what is wrong) for each that cannot go in step with its group."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, service in services.items():
        if service.strategy.group:
            groups[service.strategy.group].append(name)
    for group, names in groups.items():
        first = names[0]
        for name in names:
            if _shape(services[name].strategy) != _shape(services[first].strategy):
                yield name, f"group {group} goes step by step: {name} has other steps than {first}"
            for other in _needed(services, name) & set(names):
                waits = f"{name} waits until the rollout of {other} is complete"
                text = f"{waits}, and {other} for {name} in group {group}: remove one of the two"
                yield name, text


def _shape(strategy: Strategy) -> tuple[object, ...]:
    """Equal for those that have the same number of steps."""
    switch = (
        strategy.pre_promotion is None,
        strategy.auto_promote and not strategy.auto_promote_after,
        strategy.post_promotion is None,
    )
    return (strategy.kind, len(strategy.steps), *switch)


def _needed(services: Mapping[str, ServiceSpec], name: str) -> set[str]:
    """All that a service depends on, directly or not; itself is left to the search for cycles."""
    found: set[str] = set()
    rest = list(services[name].depends_on)
    while rest:
        other = rest.pop()
        if other in services and other not in found:
            found.add(other)
            rest += services[other].depends_on
    return found - {name}
