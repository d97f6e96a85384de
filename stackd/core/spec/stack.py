"""The whole of a stack file: the root model."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from stackd.core.model.ids import STACK_NAME
from stackd.core.spec.contents import ConfigSection, SecretSection
from stackd.core.spec.fields import NAMED, Ignored, Name, Section, matching
from stackd.core.spec.networks import NetworkSection
from stackd.core.spec.service import ServiceSection
from stackd.core.spec.volumes import VolumeSection

StackName = Annotated[
    str,
    matching(STACK_NAME.pattern, "a name of a stack: use a-z, 0-9 and -, at most 41 characters"),
]


class StackSection(Section):
    """A stack file."""

    PLANNED: ClassVar[frozenset[str]] = frozenset({"flags", "features"})
    FOREIGN: ClassVar[Mapping[str, str]] = {
        "include": "give several files with -f",
        "models": "",
    }
    NOTED: ClassVar[Mapping[str, str]] = {"version": "stack files have no version"}

    name: StackName | None = None
    services: Annotated[dict[Name, ServiceSection], NAMED, Field(min_length=1)]
    networks: Annotated[dict[Name, NetworkSection | None], NAMED] | None = None
    volumes: Annotated[dict[Name, VolumeSection | None], NAMED] | None = None
    configs: Annotated[dict[Name, ConfigSection], NAMED] | None = None
    secrets: Annotated[dict[Name, SecretSection], NAMED] | None = None
    version: Ignored = None
