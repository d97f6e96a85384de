"""`goal`: what users of an A/B rollout are to do. Called by `strategy`."""

from typing import Annotated

from pydantic import model_validator

from stackd.core.model.variants import UserGoal
from stackd.core.spec.fields import Section, choice, fault, matching

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_CLASSES = ("2xx", "3xx", "4xx", "5xx")
Path = Annotated[str, matching(r"/[!-~]{0,500}", "a path: it starts with /")]


class GoalSection(Section):
    """`goal`."""

    path: Path | None = None
    path_prefix: Path | None = None
    method: Annotated[str, choice(*_METHODS)] | None = None
    status: Annotated[str, choice(*_CLASSES)] | None = None

    @model_validator(mode="after")
    def _one(self) -> "GoalSection":
        if (self.path is None) is (self.path_prefix is None):
            raise fault("a goal is at one place: path, or path_prefix")
        if "?" in (self.path or self.path_prefix or ""):
            raise fault("what follows a ? is not looked at: leave it out")
        return self


def build(section: GoalSection) -> UserGoal:
    """The goal; without `status` an answer of success."""
    return UserGoal(
        path=section.path or "",
        path_prefix=section.path_prefix or "",
        method=section.method or "",
        status=int((section.status or "2xx")[0]),
    )
