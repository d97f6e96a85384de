"""`ports` of a service: short and long forms, ranges."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

from stackd.core.model.stack import AppProtocol, Port
from stackd.core.spec import scalars
from stackd.core.spec.fields import (
    Name,
    PortNumber,
    Section,
    Text,
    choice,
    fault,
    matching,
    whole,
)
from stackd.core.spec.scalars import shown

_NUMBERS = "[0-9]{1,5}(?:-[0-9]{1,5})?"
SHORT = rf"(?:(?:{_NUMBERS})?:)?{_NUMBERS}(?:/tcp)?"
_SHORT = re.compile(
    rf"(?:(?P<ip>\[[0-9a-fA-F:.]+\]|[0-9]+(?:\.[0-9]+){{3}}):)?(?:(?P<published>{_NUMBERS})?:)?"
    rf"(?P<target>{_NUMBERS})(?:/(?P<protocol>[a-z0-9]+))?"
)
MAX_RANGE = 100
MAX_PORTS = 1000


class PortEntry(Section):
    """One item of `ports`."""

    PLANNED: ClassVar[frozenset[str]] = frozenset({"host_ip"})

    target: PortNumber
    published: Annotated[int, whole(0, scalars.MAX_PORT)] | None = None
    protocol: Annotated[str, choice("tcp", planned=("udp",), foreign=("sctp",))] | None = None
    mode: Annotated[str, choice("ingress", planned=("host",))] | None = None
    app_protocol: Annotated[str, choice("tcp", "http", planned=("http2", "grpc", "udp"))] | None = (
        None
    )
    name: Name | None = None


class PortRange(PortEntry):
    """What a short form says: `count` ports in a row."""

    count: Annotated[int, whole(1, MAX_RANGE)] = 1


def _range(text: str) -> tuple[int, int]:
    """First port and number of ports of `8080` or `8080-8085`."""
    first, _, last = text.partition("-")
    low, high = scalars.port(first), scalars.port(last or first)
    if high < low or high - low >= MAX_RANGE:
        raise fault(f"{shown(text)} is not a range of 1 to {MAX_RANGE} ports")
    return low, high - low + 1


def from_short(data: Any) -> Any:
    """`[PUBLISHED:]TARGET[/tcp]` as an entry; everything else unchanged."""
    if not isinstance(data, str):
        return data
    found = _SHORT.fullmatch(data)
    if found is None:
        raise fault(f"{shown(data)} is not a port: write it like 80:8080 or 8080")
    if found["ip"]:
        raise fault("publishing on one address is not supported yet: leave the address away")
    if found["protocol"] not in (None, "tcp"):
        yet = "yet" if found["protocol"] == "udp" else "by stackd"
        raise fault(f"protocol {found['protocol']} is not supported {yet}: use tcp")
    try:
        target, count = _range(found["target"])
        published, wanted = _range(found["published"]) if found["published"] else (0, count)
    except ValueError as error:
        raise fault(str(error)) from error
    if wanted != count:
        raise fault(f"{shown(data)} publishes {wanted} ports of {count}")
    return PortRange.model_validate(
        {"target": str(target), "published": str(published), "count": str(count)}
    )


PortItem = Annotated[
    PortEntry,
    BeforeValidator(
        from_short,
        json_schema_input_type=Annotated[Text, matching(SHORT, "a port")] | PortEntry,
    ),
]


def expand(entry: PortEntry) -> tuple[Port, ...]:
    """The ports that one item publishes."""
    protocol = AppProtocol(entry.app_protocol or "tcp")
    published = entry.published or 0
    count = entry.count if isinstance(entry, PortRange) else 1
    return tuple(
        Port(
            target=entry.target + step,
            published=published + step if published else 0,
            protocol=protocol,
        )
        for step in range(count)
    )


def expand_all(entries: Sequence[PortEntry]) -> tuple[Port, ...]:
    """The ports that a service publishes.

    Raises:
        ValueError: more than `MAX_PORTS`.
    """
    if sum(entry.count if isinstance(entry, PortRange) else 1 for entry in entries) > MAX_PORTS:
        raise ValueError(f"a service publishes at most {MAX_PORTS} ports")
    return tuple(port for entry in entries for port in expand(entry))


def identity(data: Any) -> str | None:
    """What makes two items the same port when files are merged; None if it cannot be told."""
    try:
        entry = from_short(data)
    except ValueError:
        return None
    if isinstance(entry, PortRange):
        return f"{entry.published}:{entry.target}:{entry.count}"
    if isinstance(entry, dict):
        return f"{entry.get('published') or 0}:{entry.get('target')}:1"
    return None
