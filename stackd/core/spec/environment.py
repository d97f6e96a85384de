"""`environment` and `env_file` of a service."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

from stackd.core.spec import dotenv, paths
from stackd.core.spec.context import Context, Origin
from stackd.core.spec.fields import Flag, Labels, Section, Text
from stackd.core.spec.nodes import Place
from stackd.core.spec.problems import Report
from stackd.core.spec.scalars import shown


class EnvFile(Section):
    """One item of `env_file`."""

    FOREIGN: ClassVar[Mapping[str, str]] = {"format": "files are read as NAME=value lines"}

    path: Text
    required: Flag | None = None


def _entry(data: Any) -> Any:
    return {"path": data} if isinstance(data, str) else data


EnvFileItem = Annotated[EnvFile, BeforeValidator(_entry, json_schema_input_type=Text | EnvFile)]


def _entries(data: Any) -> Any:
    return data if isinstance(data, list) or data is None else [data]


EnvFiles = Annotated[
    list[EnvFileItem],
    BeforeValidator(_entries, json_schema_input_type=EnvFileItem | list[EnvFileItem]),
]
Environment = Labels


@dataclass(frozen=True)
class Environments:
    """What the environment of a service is made of, and where its parts stand."""

    context: Context
    lookup: Mapping[str, str]
    """The variables that null values are taken from."""
    report: Report


def _resolved(
    values: Mapping[str, str | None], where: Environments, place: Place
) -> dict[str, str]:
    """Null values replaced by the caller's; in Git they are errors."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if not name or "\x00" in name or "=" in name:
            where.report.error(place, f"{shown(name)} is not a name for a variable")
        elif value is not None:
            found[name] = value
        elif where.context.origin is Origin.GIT:
            text = f"{name} has no value, and Git has no environment to take it from: write {name}="
            where.report.error(place, text)
        elif name in where.lookup:
            found[name] = where.lookup[name]
        else:
            where.report.warning(
                place, f"{name} has no value here or in your environment: left out"
            )
    return found


def from_file(entry: EnvFile, where: Environments, place: Place) -> dict[str, str]:
    """The variables of one `env_file`; problems name the line in it."""
    try:
        name = paths.resolve(entry.path, where.context.origin)
    except ValueError as error:
        where.report.error(place, str(error))
        return {}
    data = where.context.files.get(name)
    if data is None:
        if entry.required is not False:
            where.report.error(place, f"there is no file {entry.path}")
        return {}
    values = dotenv.parse(entry.path, data, where.report)
    return _resolved(values, where, place)


def inline(
    values: Mapping[str, str | None], where: Environments, places: Mapping[str, Place]
) -> dict[str, str]:
    """The variables of `environment`; `places` has the place of each."""
    found: dict[str, str] = {}
    for name, value in values.items():
        found.update(_resolved({name: value}, where, places[name]))
    return found
