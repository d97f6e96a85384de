"""Requests and answers of apply, plan, diff and wait."""

from collections.abc import Mapping

import msgspec

from stackd.core.model.api.base import Answer
from stackd.core.model.api.simulation import SimulationAnswer
from stackd.core.model.record import Value
from stackd.core.model.stack import StackSpec


class ApplyRequest(Value, frozen=True, kw_only=True):
    """A rendered stack and the contents of its configs and secrets (`config/NAME`: bytes)."""

    spec: StackSpec
    contents: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    plan_hash: str = ""
    pull: bool = False
    override: bool = False

    def __repr__(self) -> str:
        return f"ApplyRequest({self.spec.name})"


class ApplyAnswer(Answer, frozen=True, kw_only=True):
    """What `apply` committed; `changed` false when there was nothing to do."""

    stack: str
    release: int
    changed: bool
    plan_hash: str
    notes: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    """Services that stay as they are because their image could not be resolved, and why."""


class FilesRequest(Value, frozen=True, kw_only=True):
    """Stack files as text, for callers that cannot render them; read as from a repository: no
    variable without value or default, no relative bind mount. `files` are merged in their order;
    `beside` has what they name (`env_file`, contents, `.env`)."""

    name: str
    files: Mapping[str, str]
    beside: Mapping[str, str] = msgspec.field(default_factory=dict)
    variables: Mapping[str, str] = msgspec.field(default_factory=dict)
    plan_hash: str = ""
    pull: bool = False
    override: bool = False
    simulate: bool = False
    """Of a plan: play its rollouts in virtual time, too."""

    def __repr__(self) -> str:
        return f"FilesRequest({self.name})"


class PlanRequest(Value, frozen=True, kw_only=True):
    """A stack to plan: rendered by the client, or read from a repository at a commit."""

    spec: StackSpec | None = None
    contents: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    repo: str = ""
    commit: str = ""
    pull: bool = False
    simulate: bool = False
    """Play its rollouts in virtual time, too."""

    def __repr__(self) -> str:
        return f"PlanRequest({self.spec.name if self.spec else self.repo})"


class PlanLine(Answer, frozen=True, kw_only=True):
    """One numbered change: what, why, and its effect."""

    number: int
    kind: str
    object: str
    text: str
    cause: str
    effect: str


class PlanAnswer(Answer, frozen=True, kw_only=True):
    """The plan of one stack. `infeasible`: reasons why apply would refuse it; `failed`: services
    left as they are, because their image could not be resolved."""

    stack: str
    release: int
    """The release it is made against; 0 = none yet."""
    changed: bool
    plan_hash: str
    changes: tuple[PlanLine, ...]
    infeasible: tuple[str, ...]
    notes: tuple[str, ...]
    diff: str
    simulation: SimulationAnswer | None = None
    """Only where it was asked for."""
    failed: tuple[str, ...] = ()


class PlansAnswer(Answer, frozen=True, kw_only=True):
    """Plans of several stacks (a repository)."""

    plans: tuple[PlanAnswer, ...]
    problems: tuple[str, ...] = ()


class WaitRequest(Value, frozen=True, kw_only=True):
    """What to wait for; at most one of release, revision, commit."""

    name: str
    release: int = 0
    revision: str = ""
    commit: str = ""
    removed: bool = False
    """Its removal, which may be over before anybody waits."""
    timeout: float = 900.0


class WaitAnswer(Answer, frozen=True, kw_only=True):
    """Progress while `code` is -1; the last answer has the exit code."""

    code: int
    text: str
    phase: str = ""
