"""`networks` of a service, and the top-level `networks`."""

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, ConfigDict, Field

from stackd.core.model.container import Attachment
from stackd.core.model.stack import NetworkSpec
from stackd.core.spec.fields import (
    NAMED,
    Flag,
    Labels,
    Name,
    Section,
    Text,
    choice,
    fault,
    matching,
    refine,
    whole,
)
from stackd.core.spec.scalars import shown

DEFAULT = "default"
ALIAS = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
Alias = Annotated[str, matching(ALIAS, "a name that DNS can carry")]


class AttachmentSection(Section):
    """One network of a service."""

    FOREIGN: ClassVar[Mapping[str, str]] = {
        "ipv4_address": "addresses are allocated",
        "ipv6_address": "addresses are allocated",
        "link_local_ips": "",
        "mac_address": "",
        "driver_opts": "",
        "priority": "",
        "gw_priority": "",
        "interface_name": "",
    }

    aliases: list[Alias] | None = None


def _names(data: Any) -> Any:
    """A list of names as a mapping; everything else unchanged."""
    if not isinstance(data, list) or not all(isinstance(item, str) for item in data):
        return data
    if len(set(data)) < len(data):
        raise fault("a network is named twice")
    return dict.fromkeys(data)


_Map = Annotated[dict[Name, AttachmentSection | None], NAMED]
Attachments = Annotated[_Map, BeforeValidator(_names, json_schema_input_type=_Map | list[Name])]


def _subnet(text: str) -> str:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        raise ValueError(
            f"{shown(text)} is not an IPv4 subnet: write it like 10.1.0.0/24"
        ) from None
    if not 8 <= network.prefixlen <= 29:
        raise ValueError(f"{shown(text)} is not between /8 and /29")
    return str(network)


class Pool(Section):
    """One item of `ipam.config`."""

    FOREIGN: ClassVar[Mapping[str, str]] = {
        "gateway": "each node has a gateway of its own",
        "ip_range": "",
        "aux_addresses": "",
    }

    subnet: Annotated[Text, refine(_subnet)]


class Ipam(Section):
    """`ipam` of a network."""

    FOREIGN: ClassVar[Mapping[str, str]] = {"options": ""}

    driver: Annotated[str, choice("default")] | None = None
    config: Annotated[list[Pool], Field(max_length=1)] | None = None


class NetworkOptions(Section):
    """`driver_opts` of a network."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    PLANNED: ClassVar[frozenset[str]] = frozenset({"encrypted"})

    mtu: Annotated[int, whole(1280, 9000)] | None = Field(
        default=None, alias="com.docker.network.driver.mtu"
    )


class NetworkSection(Section):
    """One top-level network."""

    PLANNED: ClassVar[frozenset[str]] = frozenset({"enable_ipv6", "encrypted"})
    FOREIGN: ClassVar[Mapping[str, str]] = {"enable_ipv4": ""}

    name: Name | None = None
    driver: (
        Annotated[str, choice("overlay", foreign=("bridge", "host", "none", "macvlan", "ipvlan"))]
        | None
    ) = None
    driver_opts: NetworkOptions | None = None
    ipam: Ipam | None = None
    external: Flag | None = None
    internal: Flag | None = None
    attachable: Flag | None = None
    labels: Labels | None = None


def build(stack: str, key: str, section: NetworkSection | None) -> NetworkSpec:
    """A top-level network with its defaults."""
    section = section or NetworkSection()
    pools = section.ipam.config if section.ipam else None
    options = section.driver_opts
    return NetworkSpec(
        name=section.name or (key if section.external else f"{stack}_{key}"),
        external=bool(section.external),
        internal=bool(section.internal),
        attachable=bool(section.attachable),
        subnet=pools[0].subnet if pools else "",
        mtu=(options.mtu or 0) if options else 0,
        labels={key: value or "" for key, value in (section.labels or {}).items()},
    )


def attachments(section: Mapping[str, AttachmentSection | None] | None) -> tuple[Attachment, ...]:
    """The networks a service joins; without any, the stack's default network."""
    if not section:
        return (Attachment(network=DEFAULT),)
    return tuple(
        Attachment(network=name, aliases=tuple(dict.fromkeys((given and given.aliases) or ())))
        for name, given in section.items()
    )
