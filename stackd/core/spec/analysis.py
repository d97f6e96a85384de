"""`analysis`: what decides whether a new revision is good enough.

Called by `strategy` and `steps` for what a stack file says, by `policyfile` for a file of its own.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from stackd.core.model.analysis import (
    AnalysisPolicy,
    Check,
    CheckKind,
    Compare,
    Condition,
    LatencyRatio,
    Limits,
    OnInconclusive,
    Operator,
)
from stackd.core.spec.fields import (
    Name,
    Section,
    Text,
    choice,
    decimal,
    fault,
    matching,
    one_or_many,
    refine,
    seconds,
    whole,
)
from stackd.core.spec.scalars import shown

MAX_CHECKS = 20
_CONDITION = re.compile(r"result\s*(>=|<=|==|!=|>|<)\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))")
_PERCENT = r"[0-9]{1,2}(?:\.[0-9]{1,4})?%"


def _above_zero(text: str) -> str:
    if float(text[:-1]) == 0:
        raise ValueError("0% is no limit that a measurement can confirm: write at least 0.01%")
    return text


Percent = Annotated[
    str, refine(_above_zero), matching(_PERCENT, "a percentage under 100%, like 5% or 0.5%")
]
Url = Annotated[str, matching(r"https?://[!-~]+", "a URL: it starts with http:// or https://")]
Period = Annotated[float, seconds(0, 7 * 86400, "0s to 7d")]
Every = Annotated[float, seconds(1, 3600, "1s to 1h")]
Limit = Annotated[float, seconds(1, 7 * 86400, "1s to 7d")]
Latency = Annotated[float, seconds(0.001, 3600, "1ms to 1h")]
Ratio = Annotated[float, decimal(1.01, 100)]


class ErrorRatio(Section):
    """`compare.error_rate`."""

    max_ratio: Ratio | None = None


class LatencyCompare(Section):
    """`compare.latency`."""

    quantile: Annotated[float, decimal(0.5, 0.999)] | None = None
    max_ratio: Ratio | None = None


class CompareSection(Section):
    """`compare`: what is given is compared, nothing else."""

    error_rate: ErrorRatio | None = None
    latency: LatencyCompare | None = None


class LimitsSection(Section):
    """`limits`: what is given is limited, nothing else."""

    error_rate: Percent | None = None
    latency_p99: Latency | None = None


def _condition(text: str) -> str:
    if not _CONDITION.fullmatch(text.strip()):
        raise ValueError(f"{shown(text)} is no condition: write it like result >= 0.99")
    return text


class PrometheusCheck(Section):
    """`prometheus`: every value of the query's result must fulfil `pass`."""

    url: Url
    query: Text
    condition: Annotated[str, refine(_condition)] = Field(alias="pass")


class UrlCheck(Section):
    """`http` and `webhook`: a status of 2xx is a pass."""

    url: Url


Words = Annotated[
    list[Text], BeforeValidator(one_or_many, json_schema_input_type=Text | list[Text])
]


class CheckSection(Section):
    """One of `checks`."""

    name: Name | None = None
    prometheus: PrometheusCheck | None = None
    http: UrlCheck | None = None
    command: Annotated[Words, Field(min_length=1)] | None = None
    webhook: UrlCheck | None = None
    timeout: Annotated[float, seconds(0.1, 600, "100ms to 10m")] | None = None
    failures: Annotated[int, whole(1, 100)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "CheckSection":
        given = [kind.value for kind in CheckKind if getattr(self, kind.value) is not None]
        if not given:
            raise fault("a check is one of prometheus, http, command and webhook")
        if len(given) > 1:
            raise fault(f"{' and '.join(given)} are both given: a check has one kind")
        return self

    @property
    def kind(self) -> CheckKind:
        """Which one is given."""
        return next(kind for kind in CheckKind if getattr(self, kind.value) is not None)

    def called(self, number: int) -> str:
        """Its name; without one its kind and its place among the checks."""
        return self.name or f"{self.kind.value}-{number}"


class AnalysisSection(Section):
    """`analysis`."""

    compare: CompareSection | None = None
    limits: LimitsSection | None = None
    checks: Annotated[list[CheckSection], Field(max_length=MAX_CHECKS)] | None = None
    warm_up: Period | None = None
    interval: Every | None = None
    min_requests: Annotated[int, whole(0, 1_000_000_000)] | None = None
    time_limit: Limit | None = None
    on_inconclusive: Annotated[str, choice(*OnInconclusive)] | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> "AnalysisSection":
        names = [check.called(number) for number, check in enumerate(self.checks or (), 1)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise fault(f"two checks are called {min(twice)}: names must differ")
        return self


def _fraction(percent: str | None) -> float | None:
    return None if percent is None else float(percent[:-1]) / 100


def _compare(section: CompareSection | None) -> Compare:
    if section is None:
        return Compare()
    ratio, latency = section.error_rate, section.latency
    base = LatencyRatio()
    return Compare(
        error_ratio=(ratio.max_ratio or Compare().error_ratio) if ratio is not None else None,
        latency=LatencyRatio(
            quantile=latency.quantile or base.quantile,
            max_ratio=latency.max_ratio or base.max_ratio,
        )
        if latency is not None
        else None,
    )


def _limits(section: LimitsSection | None) -> Limits:
    if section is None:
        return Limits()
    return Limits(error_rate=_fraction(section.error_rate), latency_p99=section.latency_p99)


def _check(section: CheckSection, number: int) -> Check:
    kind = section.kind
    values: dict[str, Any] = {"name": section.called(number), "kind": kind}
    if section.timeout is not None:
        values["timeout"] = section.timeout
    if section.failures is not None:
        values["failures"] = section.failures
    if section.prometheus is not None:
        found = _CONDITION.fullmatch(section.prometheus.condition.strip())
        assert found is not None, "the field has checked it"
        values["url"], values["query"] = section.prometheus.url, section.prometheus.query
        values["condition"] = Condition(operator=Operator(found[1]), value=float(found[2]))
    if asked := section.http or section.webhook:
        values["url"] = asked.url
    if section.command is not None:
        values["command"] = tuple(section.command)
    return Check(**values)


_NO_REQUESTS = Compare(error_ratio=None, latency=None), Limits(error_rate=None, latency_p99=None)


def unmeasured(section: AnalysisSection, lacks: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is wrong with a policy where requests to the new revision are not seen one by one: the
    key that asks for them, and the words. `lacks`: why not, as the end of a sentence."""
    asked = [key for key in ("compare", "limits") if getattr(section, key) is not None]
    for key in asked:
        yield (key,), f"{key} needs requests that are seen one by one{lacks}"
    if not asked and not section.checks:
        yield (), f"there is nothing to judge by but requests that are seen one by one{lacks}"


def build(section: AnalysisSection, *, measured: bool = True) -> AnalysisPolicy:
    """The policy. `measured`: requests to the new revision are seen one by one (an HTTP port with
    a route through the ingress); without that only checks and guards judge, and `unmeasured` says
    what is wrong.

    Raises:
        ValueError: it asks for nothing, or has no time for it.
    """
    compare, limits = _compare(section.compare), _limits(section.limits)
    if not measured:
        compare, limits = _NO_REQUESTS
    elif (compare, limits) == _NO_REQUESTS and not section.checks:
        raise ValueError("there is nothing to judge by: add compare, limits or checks")
    keys = ("warm_up", "interval", "min_requests", "time_limit", "on_inconclusive")
    given = {key: getattr(section, key) for key in keys}
    values = {key: value for key, value in given.items() if value is not None}
    if "on_inconclusive" in values:
        values["on_inconclusive"] = OnInconclusive(values["on_inconclusive"])
    checks = tuple(_check(one, number) for number, one in enumerate(section.checks or (), 1))
    policy = AnalysisPolicy(compare=compare, limits=limits, checks=checks, **values)
    if policy.warm_up + policy.interval > policy.time_limit:
        raise ValueError("time_limit is over before the first look: it must exceed warm_up")
    return policy
