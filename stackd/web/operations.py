"""Every operation of the JSON API, in one table: `api` serves it and `openapi` documents it.

An operation is an rpc of the control API under a path: the same request, handler and answer.
"""

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from stackd.core.model import api
from stackd.core.model.rollout import Phase
from stackd.errors import Refused

STACK = "/v1/stacks/{stack}"
SERVICE = STACK + "/services/{service}"
REPOSITORY = "/v1/repositories/{repository}"
FEATURE = SERVICE + "/features/{feature}"
"""A feature toggle whose share grows by steps."""
_MEANT = ("revision",)
"""Of what is asked of one rollout, and of none that has superseded it."""
_SEEN = ("full", "step", *_MEANT)
_MOVING = frozenset({Phase.PROGRESSING, Phase.PAUSED, Phase.ROLLING_BACK, Phase.PENDING})


class Take(enum.Enum):
    """What of a handler's answers is the answer."""

    ONE = "one"
    LAST = "last"
    """Of a stream: the one that it ends with."""
    ALL = "all"
    """Of a stream: a list of all."""


@dataclass(frozen=True)
class Operation:
    """`rpc` under a path. `fields` of its request come from the query (GET) or the body (POST);
    its name comes from the path."""

    name: str
    verb: str
    path: str
    rpc: str
    request: type[Any]
    answer: Any
    """The type of what is answered, after `take` and `pick`."""
    summary: str
    fields: tuple[str, ...] = ()
    take: Take = Take.ONE
    pick: Callable[[Any], Any] | None = None

    @cached_property
    def parameters(self) -> type[Any]:
        """The fields as a type of their own, with their defaults; others are refused."""
        known = {field.name: field for field in msgspec.structs.fields(self.request)}
        found = [known[name] for name in self.fields]
        defined: list[Any] = [(f.name, f.type) for f in found if f.required]
        for field in found:
            if field.default is not msgspec.NODEFAULT:
                defined.append((field.name, field.type, field.default))
            elif field.default_factory is not msgspec.NODEFAULT:
                given = msgspec.field(default_factory=field.default_factory)
                defined.append((field.name, field.type, given))
        name = f"{self.name[0].upper()}{self.name[1:]}Body"
        return msgspec.defstruct(name, defined, kw_only=True, forbid_unknown_fields=True)

    @property
    def placed(self) -> Sequence[str]:
        """The names in its path."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]

    def asked(self, place: Mapping[str, str], query: Mapping[str, str], body: bytes) -> Any:
        """The request. Raises Refused when fields are not as documented."""
        try:
            if self.verb == "GET":
                given = msgspec.convert(dict(query), self.parameters, strict=False)
            else:
                given = msgspec.json.decode(body or b"{}", type=self.parameters)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
            fields = ", ".join(self.fields) or "none"
            raise Refused(f"{error}.", f"Fields of {self.name}: {fields}.") from error
        values = {name: getattr(given, name) for name in self.fields}
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):  # a time that never comes
                raise Refused(f"{name} is {value}.", "Give a number.")
        if place:
            values["name"] = "/".join(place.values())
        return self.request(**values)


def _stack(answer: api.StatusAnswer) -> api.StackStatus:
    return answer.stacks[0]


def _services(answer: api.StatusAnswer) -> tuple[api.ServiceStatus, ...]:
    return tuple(one for stack in answer.stacks for one in stack.services)


def _service(answer: api.StatusAnswer) -> api.ServiceStatus:
    return next(one for one in _services(answer) if one.service == answer.service)


def _rollouts(answer: api.StatusAnswer) -> tuple[api.ServiceStatus, ...]:
    return tuple(one for one in _services(answer) if one.phase in _MOVING)


_Services = tuple[api.ServiceStatus, ...]
_CODES = (
    "`code`, also in the header Stackd-Code: 0 done, 2 failed, rolled back or invalid, 3 waits for "
    "a person, 4 timeout, 5 superseded."
)


def _running() -> tuple[Operation, ...]:
    name, why = api.NameRequest, api.WhyAnswer
    return (
        Operation("listStacks", "GET", "/v1/stacks", "List", name, api.StackRows, "All stacks."),
        Operation(
            *("getStack", "GET", STACK, "Status", name, api.StackStatus),
            "What a stack declares and what runs.",
            pick=_stack,
        ),
        Operation(
            *("listServices", "GET", f"{STACK}/services", "Status", name, _Services),
            "The services of a stack.",
            pick=_services,
        ),
        Operation(
            *("getService", "GET", SERVICE, "Status", name, api.ServiceStatus),
            "A service: phase, steps, weights, revisions, holds.",
            pick=_service,
        ),
        Operation(
            *("listAllRollouts", "GET", "/v1/rollouts", "Status", name, _Services),
            "The services of all stacks that are being changed or wait to be.",
            pick=_rollouts,
        ),
        Operation(
            *("listRollouts", "GET", f"{STACK}/rollouts", "Status", name, _Services),
            "The services of a stack that are being changed or wait to be.",
            pick=_rollouts,
        ),
        Operation("listTasks", "GET", f"{STACK}/tasks", "Ps", name, api.TaskRows, "Its tasks."),
        Operation("whyStack", "GET", f"{STACK}/why", "Why", name, why, "What is in the way."),
        Operation("whyService", "GET", f"{SERVICE}/why", "Why", name, why, "What is in the way."),
    )


def _told() -> tuple[Operation, ...]:
    name, events, rows = api.NameRequest, api.EventsRequest, tuple[api.EventRow, ...]
    return (
        Operation(
            *("listReleases", "GET", f"{STACK}/history", "History", name, api.HistoryRows),
            "The kept releases of a stack, newest first.",
        ),
        Operation(
            *("listAllEvents", "GET", "/v1/events", "Events", events, rows),
            "What happened, oldest first.",
            *(("trace", "tail"), Take.ALL),
        ),
        Operation(
            *("listEvents", "GET", f"{STACK}/events", "Events", events, rows),
            "What happened to a stack, oldest first.",
            *(("tail",), Take.ALL),
        ),
        Operation(
            *("listAllFlags", "GET", "/v1/flags", "FlagList", name, api.FlagRows),
            "The feature toggles of all stacks, as they act now.",
        ),
        Operation(
            *("listFlags", "GET", f"{STACK}/flags", "FlagList", name, api.FlagRows),
            "The feature toggles of a stack, as they act now.",
        ),
        Operation(
            *("listServiceFlags", "GET", f"{SERVICE}/flags", "FlagList", name, api.FlagRows),
            "The feature toggles of a service, as they act now.",
        ),
        Operation(
            *("listRepositories", "GET", "/v1/repositories", "RepoList", name, api.RepoRows),
            "The repositories that are followed, and what waits for approval in them.",
        ),
        Operation(
            *("waitStack", "GET", f"{STACK}/wait", "Wait", api.WaitRequest, api.WaitAnswer),
            f"Waits for a release or commit of a stack, at most `timeout` seconds. {_CODES}",
            *(("release", "commit", "timeout"), Take.LAST),
        ),
        Operation(
            *("waitService", "GET", f"{SERVICE}/wait", "Wait", api.WaitRequest, api.WaitAnswer),
            f"Waits for a rollout of a service, at most `timeout` seconds. {_CODES}",
            *(("release", "revision", "commit", "timeout"), Take.LAST),
        ),
    )


def _deployed() -> tuple[Operation, ...]:
    files, flag = api.FilesRequest, api.FlagRequest
    given = ("files", "beside", "variables", "plan_hash", "pull", "override")
    return (
        Operation(
            *("planStack", "POST", f"{STACK}/plan", "PlanFiles", files, api.PlanAnswer),
            "What applying these stack files would do; with `simulate` also how its rollouts "
            "would go, played in virtual time.",
            ("files", "beside", "variables", "pull", "simulate"),
        ),
        Operation(
            *("applyStack", "POST", f"{STACK}/apply", "ApplyFiles", files, api.ApplyAnswer),
            "Declares a stack; answers once it is committed.",
            given,
        ),
        Operation(
            *("scale", "POST", f"{SERVICE}/scale", "Scale", api.ScaleRequest, api.Text),
            "Overrides the declared number of tasks; null goes back to it.",
            ("replicas",),
        ),
        Operation(
            *("setFlag", "POST", f"{SERVICE}/flags/{{feature}}", "FlagSet", flag, api.Text),
            "Sets the share of a feature toggle, in 1/100 %; null goes back to what is declared.",
            ("share",),
        ),
        Operation(
            *("approve", "POST", f"{REPOSITORY}/approve", "Approve", api.ApproveRequest, api.Text),
            "Deploys the commit that waits in a repository, if its plan still has this hash.",
            ("plan",),
        ),
    )


def _steered() -> tuple[Operation, ...]:
    rollout, said, freeze = api.RolloutRequest, api.RolloutAnswer, api.FreezeRequest
    return (
        *(
            Operation(verb, "POST", f"{SERVICE}/{verb}", rpc, rollout, answer, text, fields)
            for verb, rpc, answer, text, fields in (
                ("promote", "Promote", api.Text, "Goes on past a pause.", _SEEN),
                ("resume", "Resume", api.Text, "Goes on with a paused rollout.", _MEANT),
                ("pause", "Pause", api.Text, "Stops a rollout where it is.", _MEANT),
                ("abort", "Abort", said, "Gives a rollout up; its revision is held.", _MEANT),
                ("retry", "Retry", api.Text, "Lifts a hold and rolls out again.", ()),
                ("rollback", "Rollback", said, "Back to a revision proven before.", ("to",)),
            )
        ),
        Operation(
            *("rollbackStack", "POST", f"{STACK}/rollback", "Rollback", rollout, said),
            "Back to a release kept before.",
            ("to",),
        ),
        Operation(
            *("freeze", "POST", f"{STACK}/freeze", "Freeze", freeze, api.Text),
            "Lets no new rollout begin in a stack.",
            ("reason", "until", "seconds"),
        ),
        Operation(
            *("unfreeze", "POST", f"{STACK}/unfreeze", "Unfreeze", api.NameRequest, api.Text),
            "Lets rollouts of a stack begin again.",
        ),
        Operation(
            *("freezeAll", "POST", "/v1/freeze", "Freeze", freeze, api.Text),
            "Lets no new rollout begin in any stack.",
            ("reason", "until", "seconds"),
        ),
        Operation(
            *("unfreezeAll", "POST", "/v1/unfreeze", "Unfreeze", api.NameRequest, api.Text),
            "Ends the freeze of all stacks.",
        ),
    )


def _toggles() -> tuple[Operation, ...]:
    """Of feature toggles whose share grows by steps."""
    rollout, said = api.RolloutRequest, api.RolloutAnswer
    return (
        Operation(
            *("waitFeature", "GET", f"{FEATURE}/wait", "Wait", api.WaitRequest, api.WaitAnswer),
            f"Waits for a toggle's way to its share, at most `timeout` seconds. {_CODES}",
            *(("timeout",), Take.LAST),
        ),
        *(
            Operation(
                *(f"{verb}Feature", "POST", f"{FEATURE}/{verb}", rpc, rollout, answer),
                *(text, fields),
            )
            for verb, rpc, answer, text, fields in (
                ("promote", "Promote", api.Text, "A toggle goes on past a pause.", _SEEN),
                ("resume", "Resume", api.Text, "A paused toggle goes on.", _MEANT),
                ("pause", "Pause", api.Text, "A toggle stays where it is.", _MEANT),
                ("abort", "Abort", said, "A toggle goes back; its share is held.", _MEANT),
                ("retry", "Retry", api.Text, "Lifts the hold of a toggle's share.", ()),
            )
        ),
    )


OPERATIONS = (*_running(), *_told(), *_deployed(), *_steered(), *_toggles())
"""In the order in which they are documented."""
