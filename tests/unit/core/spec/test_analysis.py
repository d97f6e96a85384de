import pytest
from msgspec.structs import replace

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
from stackd.core.spec import SourceFile
from stackd.core.spec.analysis import AnalysisSection, build, unmeasured
from stackd.core.spec.policyfile import load_policy
from tests.architecture.sources import ROOT

WHOLE = """
compare: {error_rate: {max_ratio: 2}, latency: {quantile: 0.9}}
limits: {error_rate: 0.5%, latency_p99: 300ms}
checks:
  - {prometheus: {url: http://prom:9090, query: up, pass: result >= 0.99}, name: up, timeout: 5s}
  - {http: {url: https://web/healthz}, failures: 1}
  - {command: [/bin/smoke, -q]}
  - {webhook: {url: https://ci/gate}}
warm_up: 1m
interval: 5s
min_requests: 50
time_limit: 1h
on_inconclusive: abort
"""


def policy(text: str) -> AnalysisPolicy:
    found, problems = load_policy(SourceFile("p.yml", text.encode()))
    assert found is not None, [str(problem) for problem in problems]
    return found


def faults(text: str) -> str:
    found, problems = load_policy(SourceFile("p.yml", text.encode()))
    assert found is None
    return "\n".join(map(str, problems))


def test_every_key() -> None:
    assert policy(WHOLE) == AnalysisPolicy(
        compare=Compare(error_ratio=2.0, latency=LatencyRatio(quantile=0.9, max_ratio=1.5)),
        limits=Limits(error_rate=0.005, latency_p99=0.3),
        checks=(
            Check(
                name="up",
                kind=CheckKind.PROMETHEUS,
                url="http://prom:9090",
                query="up",
                condition=Condition(operator=Operator.AT_LEAST, value=0.99),
                timeout=5.0,
            ),
            Check(name="http-2", kind=CheckKind.HTTP, url="https://web/healthz", failures=1),
            Check(name="command-3", kind=CheckKind.COMMAND, command=("/bin/smoke", "-q")),
            Check(name="webhook-4", kind=CheckKind.WEBHOOK, url="https://ci/gate"),
        ),
        warm_up=60.0,
        interval=5.0,
        min_requests=50,
        time_limit=3600.0,
        on_inconclusive=OnInconclusive.ABORT,
    )


def test_the_keys_may_stand_below_analysis() -> None:
    inner = "".join(f"  {line}\n" for line in WHOLE.splitlines())
    assert policy(f"analysis:\n{inner}") == policy(WHOLE)


def test_the_example_of_the_documentation_shows_the_defaults() -> None:
    text = (ROOT / "docs" / "analysis.md").read_text()
    found = policy(text.split("```yaml\n")[1].split("```")[0])
    assert found == replace(AnalysisPolicy(), checks=found.checks)
    assert [check.kind for check in found.checks] == list(CheckKind)


def test_what_is_absent_has_its_default_and_what_is_given_is_all() -> None:
    assert policy("{}") == AnalysisPolicy()
    only = policy("compare: {error_rate: {}}")
    assert only.compare == Compare(latency=None)
    assert only.limits == Limits()
    assert policy("limits: {}").limits == Limits(error_rate=None, latency_p99=None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("warmup: 3s", "1:1: unknown key warmup: did you mean warm_up?"),
        ("limits: {error_rate: 5}", "1:22: '5' is not a percentage"),
        ("limits: {error_rate: 0%}", "1:22: 0% is no limit"),
        ("limits: {error_rate: 100%}", "is not a percentage under 100%"),
        ("compare: {latency: {quantile: 1}}", "1:31: 1 is out of range: 0.5 to 0.999"),
        ("compare: {error_rate: {max_ratio: 1}}", "out of range: 1.01 to 100"),
        ("compare: {error_rate: 3}", "1:23: must be a mapping"),
        ("checks: [{}]", "1:10: a check is one of"),
        ("checks: [{http: {url: http://a}, command: x}]", "http and command are both given"),
        ("checks: [{command: []}]", "must not be empty"),
        ("checks: [{http: {url: ftp://a}}]", "it starts with http://"),
        ("checks: [{prometheus: {url: http://a, query: x}}]", "pass is missing"),
        ("checks: [{prometheus: {url: http://a, query: x, pass: 1}}]", "'1' is no condition"),
        (
            "checks: [{http: {url: http://a}, name: webhook-2}, {webhook: {url: http://a}}]",
            "two checks are called webhook-2",
        ),
        ("on_inconclusive: x", "'x' is unknown: use pause or promote or abort"),
        ("interval: 0s", "out of range: 1s to 1h"),
        ("warm_up: 30m", "time_limit is over before the first look"),
        ("compare: {}\nlimits: {}", "there is nothing to judge by"),
        ("analysis: []", "1:11: must be a mapping"),
        ("a: [", "not YAML"),
        ("warm_up: 1s\nwarm_up: 2s", "2:1: duplicate key warm_up"),
    ],
)
def test_faults(text: str, said: str) -> None:
    assert said in faults(text)


def test_without_requests_only_checks_can_judge() -> None:
    checks = [{"command": ["/bin/smoke"]}]
    found = build(AnalysisSection.model_validate({"checks": checks}), measured=False)
    assert found.compare == Compare(error_ratio=None, latency=None)
    assert found.limits == Limits(error_rate=None, latency_p99=None)
    section = AnalysisSection.model_validate({"checks": checks, "compare": {}, "limits": {}})
    assert list(unmeasured(section, ": why")) == [
        (("compare",), "compare needs requests that are seen one by one: why"),
        (("limits",), "limits needs requests that are seen one by one: why"),
    ]
    [(place, text)] = unmeasured(AnalysisSection(), ": why")
    assert (place, text.partition(" but")[0]) == ((), "there is nothing to judge by")
