"""`$V ${V} ${V:-d} ${V-d} ${V:?e} ${V?e} $$` in the values of a node tree, before typing.

Keys are left alone. Nothing is ever executed and no template engine is involved. Defaults may
hold references again, a few levels deep.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from stackd.core.spec.context import Origin
from stackd.core.spec.nodes import Entry, ListNode, MapNode, Node, Path, Place, Scalar
from stackd.core.spec.problems import Report, dotted
from stackd.core.spec.reader import Budget

MAX_NESTING = 8
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?]")


class _Bad(ValueError):
    """A reference that cannot be resolved; `offset` counts from the start of the text."""

    def __init__(self, text: str, offset: int) -> None:
        super().__init__(text)
        self.offset = offset


@dataclass(frozen=True)
class _Where:
    scalar: Scalar
    path: Path


class Interpolator:
    """Replaces references with the values of `variables`, by the rules of the origin."""

    def __init__(
        self, variables: Mapping[str, str], origin: Origin, budget: Budget, report: Report
    ) -> None:
        self._variables = variables
        self._origin = origin
        self._budget = budget
        self._report = report

    def tree(self, node: Node, path: Path = ()) -> Node:
        """The same tree with every value interpolated."""
        match node:
            case Scalar():
                return self._scalar(node, path)
            case ListNode():
                items = (self.tree(item, (*path, i)) for i, item in enumerate(node.items))
                return ListNode(tuple(items), node.place)
            case MapNode():
                entries = {
                    key: Entry(entry.key_place, self.tree(entry.value, (*path, key)))
                    for key, entry in node.entries.items()
                }
                return MapNode(entries, node.place)

    def _scalar(self, scalar: Scalar, path: Path) -> Scalar:
        if "$" not in scalar.text:
            return scalar
        try:
            text = self._text(scalar.text, 0, _Where(scalar, path), 0)
        except _Bad as error:
            self._report.error(scalar.inside(error.offset), str(error), dotted(path))
            self._report.settle(scalar.place)
            return Scalar("", scalar.place)
        return Scalar(text, scalar.place)

    def _paid(self, value: str, where: _Where) -> str:
        # Counted one by one: a short text can name a long variable very often.
        self._budget.spend(where.scalar.place, 0, len(value))
        return value

    def _text(self, text: str, offset: int, where: _Where, depth: int) -> str:
        """`text`, which stands at `offset` in the scalar, with its references replaced."""
        if depth > MAX_NESTING:
            raise _Bad("references are nested too deeply", offset)
        parts: list[str] = []
        at = 0
        while (dollar := text.find("$", at)) >= 0:
            parts.append(text[at:dollar])
            following = text[dollar + 1 : dollar + 2]
            if following == "$":
                parts.append("$")
                at = dollar + 2
            elif following == "{":
                end = _closing(text, dollar + 2, offset)
                inner = text[dollar + 2 : end]
                parts.append(self._paid(self._braced(inner, offset + dollar, where, depth), where))
                at = end + 1
            elif name := _NAME.match(text, dollar + 1):
                parts.append(self._paid(self._plain(name.group(), where, offset + dollar), where))
                at = name.end()
            else:
                raise _Bad("`$` starts no reference: write `$$` for a dollar", offset + dollar)
        parts.append(text[at:])
        return "".join(parts)

    def _braced(self, inner: str, offset: int, where: _Where, depth: int) -> str:
        name = _NAME.match(inner)
        rest = inner[name.end() :] if name else inner
        operator = _OPERATOR.match(rest)
        if name is None or (rest and operator is None):
            raise _Bad("`${…}` holds no reference: use ${NAME} or ${NAME:-default}", offset)
        if operator is None:
            return self._plain(name.group(), where, offset)
        value = self._variables.get(name.group())
        if value or (value == "" and not operator.group().startswith(":")):
            return value
        argument = rest[operator.end() :]
        inside = offset + 2 + name.end() + operator.end()
        text = self._text(argument, inside, where, depth + 1)
        if operator.group().endswith("?"):
            raise _Bad(f"{name.group()} must be set" + (f": {text}" if text else ""), offset)
        return text

    def _plain(self, name: str, where: _Where, offset: int) -> str:
        value = self._variables.get(name)
        if value is not None:
            return value
        if self._origin is Origin.GIT:
            hint = f"give a default (${{{name}:-…}}), a line in .env, or `repo add --var {name}=…`"
            raise _Bad(f"{name} is not set: {hint}", offset)
        place: Place = where.scalar.inside(offset)
        text = f"{name} is not set and read as empty"
        self._report.warning(place, text, dotted(where.path))
        return ""


def _closing(text: str, start: int, offset: int) -> int:
    """The index of the brace that closes the one before `start`."""
    depth = 1
    at = start
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
            at += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    raise _Bad("`${` is not closed", offset + start - 2)
