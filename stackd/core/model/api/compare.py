"""What `diff --base --head` answers: what two revisions of a repository declare otherwise."""

from stackd.core.model.api.base import Answer
from stackd.core.model.record import Value


class CompareRequest(Value, frozen=True, kw_only=True):
    """Two branches, tags or commits of a repository that the cluster follows."""

    repo: str
    base: str
    head: str


class FieldRow(Answer, frozen=True, kw_only=True):
    """One field before and after; '' = absent. Both are '' where values are not shown."""

    path: str
    before: str
    after: str


class CompareLine(Answer, frozen=True, kw_only=True):
    """One change of a stack: to what, in words, its effect on running tasks, and its fields."""

    kind: str
    object: str
    text: str
    effect: str
    fields: tuple[FieldRow, ...] = ()


class CompareStack(Answer, frozen=True, kw_only=True):
    """A stack that is declared otherwise at the head."""

    stack: str
    changes: tuple[CompareLine, ...]


class CompareAnswer(Answer, frozen=True, kw_only=True):
    """Every stack that differs. `base` and `head` are commits; the base is what both have in
    common, so that what came to the base since is not in it."""

    base: str
    head: str
    stacks: tuple[CompareStack, ...]
    problems: tuple[str, ...] = ()
    """Why files of the head are refused."""
    notes: tuple[str, ...] = ()
