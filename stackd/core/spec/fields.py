"""The types that the models of a stack file are made of, each with its JSON schema.

The models see every scalar as text (`nodes.to_data`), so that no value is changed by guessing
its type; a type here says what its text means. In the schema, a value may also be a text with a
`$` in it: an editor sees the file before interpolation.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from stackd.core.model.ids import OBJECT_NAME
from stackd.core.spec import scalars
from stackd.core.spec.scalars import Span, shown

T = TypeVar("T")
Schema = dict[str, Any]

INTERPOLATED: Schema = {"type": "string", "pattern": r"\$"}
TEXT: Schema = {"type": ["string", "number", "boolean"]}


class Section(BaseModel):
    """Base of all sections: unknown keys are refused, `x-` keys are the author's own.

    PLANNED: keys that stackd will have. FOREIGN: keys of Compose that stackd cannot honour, with
    what to do instead (may be empty). NOTED: keys accepted and ignored, with why.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        defer_build=True,  # validators are made at the first stack, not when a process starts
        json_schema_extra={"patternProperties": {"^x-": {}}},
    )

    PLANNED: ClassVar[frozenset[str]] = frozenset()
    FOREIGN: ClassVar[Mapping[str, str]] = {}
    NOTED: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _own_keys(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if not key.startswith("x-")}


def fault(text: str) -> PydanticCustomError:
    """An error whose message reaches the author as it is."""
    return PydanticCustomError("stackd", "{text}", {"text": text})


def scalar(data: Any) -> str:
    """The text of a scalar; anything else is refused."""
    if isinstance(data, str):
        return data
    raise fault("must be a single value" if data is not None else "must have a value")


def parsed(parse: Callable[[str], T]) -> BeforeValidator:
    """A validator that makes a value of a scalar's text with `parse`."""

    def validate(data: Any) -> T:
        try:
            return parse(scalar(data))
        except ValueError as error:
            raise fault(str(error)) from error

    return BeforeValidator(validate)


def pattern_schema(pattern: str) -> Schema:
    """The schema of a text that matches `pattern` as a whole, or is still to be interpolated."""
    return {"type": "string", "pattern": rf"^(?:{pattern})$|\$"}


def matching(pattern: str, what: str) -> Any:
    """Metadata of a text that matches `pattern` as a whole; `what` completes 'X is not …'."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"{shown(text)} is not {what}")
        return text

    return Both(parsed(check), {"anyOf": [pattern_schema(pattern), {"type": "number"}]})


def hundredths(what: str) -> Any:
    """Metadata of a percentage that is kept as 0 to 10000; `what` completes 'X is not a …'."""
    parse = partial(scalars.hundredths, what=what)
    return Both(parsed(parse), pattern_schema(scalars.PERCENT))


class Both(Generic[T]):
    """A validator and the JSON schema of what it accepts, as one piece of metadata."""

    def __init__(self, validator: BeforeValidator, schema: Schema) -> None:
        self._validator = validator
        self._schema = schema

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        schema: CoreSchema = self._validator.__get_pydantic_core_schema__(source, handler)
        return schema

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return dict(self._schema)


def whole(low: int, high: int) -> Any:
    """Metadata of a whole number between two bounds."""

    def parse(text: str) -> int:
        value = scalars.integer(text)
        Span(low, high).check(value, text)
        return value

    typed = {"type": "integer", "minimum": low, "maximum": high}
    return Both(parsed(parse), {"anyOf": [typed, _quoted(high, low)]})


def _quoted(high: int, low: int) -> Schema:
    sign = "-?" if low < 0 else ""
    return pattern_schema(f"{sign}[0-9]{{1,{len(str(high))}}}")


def decimal(low: float, high: float) -> Any:
    """Metadata of a number between two bounds."""

    def parse(text: str) -> float:
        value = scalars.number(text)
        Span(low, high).check(value, text)
        return value

    typed = {"type": "number", "minimum": low, "maximum": high}
    return Both(parsed(parse), {"anyOf": [typed, pattern_schema(scalars.NUMBER)]})


def seconds(low: float = 0, high: float = 10 * 365 * 86400, words: str = "") -> Any:
    """Metadata of a duration in seconds; `words` names the bounds in a message."""

    def parse(text: str) -> float:
        value = scalars.duration(text)
        Span(low, high, words).check(value, text)
        return value

    return Both(parsed(parse), {"anyOf": [{"const": 0}, pattern_schema(scalars.DURATION)]})


def choice(*honoured: str, planned: tuple[str, ...] = (), foreign: tuple[str, ...] = ()) -> Any:
    """Metadata of one word out of `honoured`; `planned` and `foreign` are refused with why."""

    def parse(text: str) -> str:
        if text in honoured:
            return text
        if text in planned:
            raise ValueError(f"{shown(text)} is not supported yet: use {' or '.join(honoured)}")
        if text in foreign:
            raise ValueError(f"{shown(text)} is not supported by stackd: use {', '.join(honoured)}")
        raise ValueError(f"{shown(text)} is unknown: use {' or '.join(honoured)}")

    words: Schema = {"enum": list(honoured)}
    return Both(parsed(parse), {"anyOf": [words, INTERPOLATED]})


def refine(check: Callable[[str], str]) -> BeforeValidator:
    """A further check on a text whose failure no schema can express."""
    return parsed(check)


Text = Annotated[str, WithJsonSchema(TEXT)]
Flag = Annotated[
    bool,
    Both(
        parsed(scalars.boolean),
        {"anyOf": [{"type": "boolean"}, pattern_schema(scalars.BOOLEAN)]},
    ),
]
Size = Annotated[
    int,
    Both(
        parsed(scalars.size),
        {"anyOf": [{"type": "integer", "minimum": 0}, pattern_schema(scalars.SIZE)]},
    ),
]
FileMode = Annotated[
    int,
    Both(
        parsed(scalars.mode),
        {"anyOf": [{"type": "integer", "minimum": 0}, pattern_schema(scalars.MODE)]},
    ),
]
PortNumber = Annotated[int, whole(1, scalars.MAX_PORT)]
Duration = Annotated[float, seconds()]
Name = Annotated[str, matching(OBJECT_NAME.pattern, "a name: use letters, digits, - and _")]
Absolute = Annotated[str, matching(r"/[^\x00]*", "an absolute path")]
Ignored = Annotated[Any, WithJsonSchema({})]


class Keys:
    """Metadata of a mapping whose keys match `pattern`, for the schema; the model has its own."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        found = dict(handler(schema))
        found["propertyNames"] = {"pattern": f"^(?:{self._pattern})$"}
        return found


NAMED = Keys(OBJECT_NAME.pattern)


def pairs(data: Any) -> Any:
    """`[K=V, K]` as a mapping; mappings and everything else unchanged."""
    if not isinstance(data, list) or not all(isinstance(item, str) for item in data):
        return data
    found: dict[str, str | None] = {}
    for item in data:
        key, equals, value = item.partition("=")
        if not key:
            raise fault(f"{shown(item)} has no name before `=`")
        found[key] = value if equals else None
    return found


def one_or_many(data: Any) -> Any:
    """A single text as a list of one; everything else unchanged."""
    return [data] if isinstance(data, str) else data


TextPairs = dict[str, Text | None]
Labels = Annotated[
    TextPairs,
    BeforeValidator(pairs, json_schema_input_type=TextPairs | list[Text]),
]
