"""What is asked of the deployer and what it answers; and what the source loop and `repo rm` need of
it, as a small protocol.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from stackd.core.model.release import Digest
from stackd.core.model.stack import StackSpec
from stackd.core.plan.make import Plan


@dataclass(frozen=True, slots=True)
class Deploy:
    """One rendered stack to deploy or to plan."""

    spec: StackSpec
    contents: Mapping[str, bytes]
    owner: str
    by: str
    commit: str = ""
    path: str = ""
    pull: bool = False
    override: bool = False
    plan_hash: str = ""
    cause: str = ""

    def __repr__(self) -> str:
        return f"Deploy({self.spec.name} by {self.by})"


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with what surrounds it. `failed`: service -> why its image could not be resolved;
    such a service stays as it is, the others go on."""

    plan: Plan
    digests: tuple[Digest, ...]
    infeasible: tuple[str, ...]
    notes: tuple[str, ...]
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deployed:
    """What was committed."""

    release: int
    changed: bool
    plan: Plan
    notes: tuple[str, ...]
    failed: Mapping[str, str]


class StackDeployer(Protocol):
    """Makes declared stacks true; `manager.deployer.Deployer` is one."""

    async def plan(self, request: Deploy) -> Planned:
        """What would change; writes nothing. Raises as `deploy`."""
        ...

    async def deploy(self, request: Deploy) -> Deployed:
        """Raises Refused (foreign owner, infeasible), InvalidSpec, Unavailable, Conflict."""
        ...

    async def seen(self, stack: str, commit: str, problem: str) -> None:
        """Note that the stack's repository has processed `commit`, and why not all of it runs."""
        ...

    async def remove(self, stack: str, by: str, *, volumes: bool = False, cause: str = "") -> None:
        """Ask for a stack's removal. Raises Refused when there is none."""
        ...
