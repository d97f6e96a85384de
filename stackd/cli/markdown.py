"""What a pull request changes, as Markdown for a comment. Called by `stackd diff`.

Names and values come from whoever wrote the pull request: they stand in code spans, on one line,
so that they are neither markup nor mentions.
"""

import re
from collections.abc import Iterator

from stackd.cli.output import clean
from stackd.core.model.api import CompareAnswer, CompareLine, CompareStack, FieldRow

MOST = 60_000
"""Characters: a comment takes 65,536 on GitHub."""
_LONG = 200
"""Characters shown of one value."""
_HIDDEN = frozenset({"secrets", "configs"})


def comment(answer: CompareAnswer) -> str:
    """The whole comment; ends with a newline."""
    lines = list(_lines(answer))
    text = "\n".join(lines) + "\n"
    if len(text) <= MOST:
        return text
    kept: list[str] = []
    size = 0
    for line in lines:
        size += len(line) + 1
        if size > MOST:
            break
        kept.append(line)
    return "\n".join([*kept, "", "… and more: see `stackd diff` for the rest.", ""])


def _lines(answer: CompareAnswer) -> Iterator[str]:
    count = len(answer.stacks)
    what = f"{count} stack{'' if count == 1 else 's'} will change" if count else "no stack changes"
    yield f"### stackd: {what}"
    yield ""
    yield f"{code(answer.base[:12])} → {code(answer.head[:12])}"
    for stack in answer.stacks:
        yield ""
        yield from _stack(stack)
    if answer.problems:
        yield ""
        yield "#### Not valid"
        yield ""
        yield from (f"- {code(problem)}" for problem in answer.problems)
    if answer.notes:
        yield ""
        yield from (f"> {code(note)}" for note in answer.notes)


def _stack(stack: CompareStack) -> Iterator[str]:
    yield f"#### {code(stack.stack)}"
    yield ""
    for line in stack.changes:
        yield from _change(line)


def _change(line: CompareLine) -> Iterator[str]:
    effect = f" — **{_plain(line.effect)}**" if line.effect else ""
    yield f"- {code(line.text)}{effect}"
    for field in line.fields:
        yield f"  - {_field(field)}"


def _field(field: FieldRow) -> str:
    path = code(field.path)
    if field.path in _HIDDEN and not field.before and not field.after:
        return f"{path}: changed"
    if not field.before:
        return f"{path}: added {code(field.after)}"
    if not field.after:
        return f"{path}: removed {code(field.before)}"
    return f"{path}: {code(field.before)} → {code(field.after)}"


def code(text: str) -> str:
    """A code span that holds exactly this text on one line, shortened when it is long."""
    flat = clean(text.replace("\n", "\\n").replace("\t", "\\t"))
    if len(flat) > _LONG:
        flat = flat[:_LONG] + "…"
    fence = "`" * (max((len(run) for run in re.findall("`+", flat)), default=0) + 1)
    pad = " " if flat.startswith(("`", " ")) or flat.endswith(("`", " ")) or not flat else ""
    return f"{fence}{pad}{flat or '(empty)'}{pad}{fence}"


def _plain(text: str) -> str:
    """Words of our own, with what would be markup escaped."""
    return re.sub(r"([\\`*_<>\[\]|@])", r"\\\1", clean(text))
