import pytest

from stackd.core.model.analysis import AnalysisPolicy, Compare, Limits
from stackd.core.model.strategy import (
    Amount,
    Analyse,
    Matcher,
    OnFailure,
    Pause,
    Preview,
    SetMatch,
    SetMirror,
    SetScale,
    SetWeight,
    Strategy,
    StrategyKind,
)
from stackd.core.model.variants import UserGoal
from tests.unit.core.spec.stacks import document, faults, loaded, service

ALL = Amount(value=100, percent=True)
VOLUME = "volumes: ['d:/d']\n"
HTTP = "ports: [{target: 80, app_protocol: http}]\n"
TOP = "volumes: {d: , s: {shared: true}}"


def n(value: int) -> Amount:
    return Amount(value=value)


def deploy(text: str) -> Strategy:
    return service(f"deploy: {text}").strategy


def test_absent_is_rolling_start_first() -> None:
    assert service("init: true").strategy == Strategy()
    assert deploy("{update_config: {}}") == Strategy()
    assert deploy("{strategy: rolling}") == Strategy()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{parallelism: 3}", Strategy(max_surge=n(3))),
        ("{parallelism: 0}", Strategy(max_surge=ALL)),
        ("{order: stop-first}", Strategy(max_surge=n(0), max_unavailable=n(1))),
        (
            "{order: stop-first, parallelism: 0}",
            Strategy(max_surge=n(0), max_unavailable=ALL),
        ),
        (
            "{delay: 1s, monitor: 0s, max_failure_ratio: 0.5, failure_action: continue}",
            Strategy(delay=1.0, monitor=0.0, max_failure_ratio=0.5, on_failure=OnFailure.CONTINUE),
        ),
    ],
)
def test_update_config(text: str, expected: Strategy) -> None:
    assert deploy(f"{{update_config: {text}}}") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max_surge: 50%", Strategy(max_surge=Amount(value=50, percent=True))),
        ("max_surge: 0", Strategy(max_surge=n(0), max_unavailable=n(1))),
        ("max_unavailable: 1", Strategy(max_unavailable=n(1))),
        (
            "progress_deadline: 1m, drain_timeout: 10m, on_failure: pause, monitor: 1s",
            Strategy(
                progress_deadline=60.0,
                drain_timeout=600.0,
                on_failure=OnFailure.PAUSE,
                monitor=1.0,
            ),
        ),
    ],
)
def test_strategy(text: str, expected: Strategy) -> None:
    assert deploy(f"{{strategy: {{type: rolling, {text}}}}}") == expected


def test_recreate() -> None:
    expected = Strategy(kind=StrategyKind.RECREATE, max_surge=n(0), max_unavailable=ALL)
    assert deploy("{strategy: recreate}") == expected
    assert deploy("{strategy: {type: recreate}}") == expected


def test_rollback_is_paced_as_the_update_unless_said() -> None:
    update = "update_config: {parallelism: 2, monitor: 1s}"
    assert service(f"deploy: {{{update}}}").rollback == Strategy(
        max_surge=n(2), monitor=1.0, on_failure=OnFailure.PAUSE
    )
    back = "rollback_config: {parallelism: 0, order: stop-first, failure_action: continue}"
    assert service(f"deploy: {{{update}, {back}}}").rollback == Strategy(
        max_surge=n(0), max_unavailable=ALL, monitor=1.0, on_failure=OnFailure.CONTINUE
    )
    only = service("deploy: {rollback_config: {order: stop-first}}").rollback
    assert (only.max_surge, only.max_unavailable) == (n(0), n(1))
    recreated = service("deploy: {strategy: recreate, rollback_config: {delay: 1s}}").rollback
    assert recreated.kind is StrategyKind.RECREATE


@pytest.mark.parametrize(
    "keys",
    [VOLUME, VOLUME + "deploy: {strategy: rolling}", "volumes: ['/srv:/d']"],
)
def test_a_written_volume_means_stop_first(keys: str) -> None:
    found = service(keys, rest=TOP)
    assert (found.strategy.max_surge, found.strategy.max_unavailable) == (n(0), n(1))
    assert (found.rollback.max_surge, found.rollback.max_unavailable) == (n(0), n(1))


@pytest.mark.parametrize("keys", ["volumes: ['d:/d:ro']", "volumes: ['s:/d']", "tmpfs: /d"])
def test_other_mounts_do_not(keys: str) -> None:
    assert service(keys, rest=TOP).strategy == Strategy()


@pytest.mark.parametrize(
    "text",
    [
        "{update_config: {order: start-first}}",
        "{strategy: {type: rolling, max_surge: 1}}",
        "{rollback_config: {order: start-first}}",
    ],
)
def test_start_first_on_a_written_volume_is_an_error(text: str) -> None:
    message = "start-first runs two tasks at once on a volume that is written to"
    assert message in faults(f"{VOLUME}deploy: {text}", rest=TOP)


def canary_(more: str) -> str:
    return f"{{strategy: {{type: canary, steps: [{{pause: {{}}}}], {more}}}}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{strategy: canary}", "canary needs steps"),
        ("{strategy: {type: blue-green, preview: {}}}", "green is reached at one place"),
        (canary_("preview: {host: a.b}"), "only blue-green has a switch: remove preview"),
        (canary_("post_promotion: {}"), "only blue-green has a switch: remove post_promotion"),
        ("{strategy: {type: abc}}", "'abc' is unknown: use rolling or recreate or"),
        (canary_("mirror: 5%"), "canary has it as a step: remove mirror"),
        (canary_("duration: 5s"), "only shadow ends by time: remove duration"),
        (canary_("match: []"), "canary has it as a step: remove match"),
        (canary_("split: 5%"), "only ab splits users: remove split"),
        ("{strategy: shadow}", "shadow needs requests that are seen one by one: add `ports:`"),
        ("{strategy: {type: ab, split: 5%}}", "ab needs requests that are seen one by one: add"),
        ("{mode: global, strategy: shadow}", "shadow is for replicated services"),
        ("{mode: global, strategy: {type: ab, split: 5%}}", "ab is for replicated services"),
        ("{strategy: {type: rolling, steps: []}}", "rolling has no steps: remove steps"),
        ("{strategy: {type: blue-green, steps: []}}", "blue-green has no steps: remove steps"),
        ("{strategy: {type: rolling, scale_down_delay: 1s}}", "remove scale_down_delay"),
        ("{strategy: {type: recreate, scale_down_delay: 1s}}", "remove scale_down_delay"),
        (
            "{strategy: {type: rolling, scale_down_delay: 1s, steps: []}}",
            "rolling has no steps: remove steps; "
            "rolling keeps no replaced revision ready: remove scale_down_delay",
        ),
        ("{strategy: {type: blue-green, delay: 1s}}", "remove delay"),
        ("{strategy: {type: blue-green, max_surge: 0}}", "max_surge is at least 1"),
        (
            "{strategy: {type: blue-green, auto_promote: false, auto_promote_after: 1s}}",
            "auto_promote: false waits for a person, auto_promote_after does not",
        ),
        ("{mode: global, strategy: blue-green}", "blue-green is for replicated services"),
        ("{strategy: {type: rolling, on_failure: step_back}}", "step_back needs the weights of"),
        ("{strategy: {type: rolling, analysis: {}}}", "side by side to be compared: remove anal"),
        ("{strategy: {type: rolling, drain_timeout: 11m}}", "11m is out of range: 0s to 10m"),
        ("{strategy: {type: rolling, max_surge: 101%}}", "is not a number or a percentage"),
        ("{strategy: {type: rolling, max_surge: 0, max_unavailable: 0}}", "are both 0"),
        ("{strategy: {type: recreate, max_surge: 1}}", "remove max_surge"),
        ("{strategy: {}}", "type is missing"),
        ("{strategy: rolling, update_config: {}}", "are both given"),
        ("{update_config: {order: both}}", "'both' is unknown: use start-first or stop-first"),
        ("{update_config: {max_failure_ratio: 2}}", "2 is out of range: 0 to 1"),
        ("{rollback_config: {failure_action: rollback}}", "'rollback' is unknown"),
    ],
)
def test_faults(text: str, message: str) -> None:
    assert message in faults(f"deploy: {text}")


def canary(*steps: str, more: str = "") -> str:
    return f"{{strategy: {{type: canary, steps: [{', '.join(steps)}]{more}}}}}"


def test_canary_steps() -> None:
    text = canary(
        "{set_weight: 0.01%}",
        "{pause: 2m}",
        "{set_scale: 3}",
        "{set_scale: 50%}",
        "{set_weight: 5.5%}",
        "{pause: {}}",
        "{set_weight: 100%}",
        more=", scale_down_delay: 0s",
    )
    found = deploy(text)
    assert found.kind is StrategyKind.CANARY
    assert found.scale_down_delay == 0
    assert found.steps == (
        SetWeight(weight=1),
        Pause(seconds=120.0),
        SetScale(tasks=n(3)),
        SetScale(tasks=Amount(value=50, percent=True)),
        SetWeight(weight=550),
        Pause(),
        SetWeight(weight=10_000),
    )


def test_blue_green() -> None:
    assert deploy("{strategy: blue-green}") == Strategy(kind=StrategyKind.BLUE_GREEN)
    by_hand = deploy("{strategy: {type: blue-green, auto_promote: no}}")
    assert by_hand == Strategy(kind=StrategyKind.BLUE_GREEN, auto_promote=False)
    timed = deploy("{strategy: {type: blue-green, auto_promote_after: 5m}}")
    assert timed.auto_promote_after == 300.0


CHECKED = "checks: [{command: /bin/smoke}]"


def test_blue_green_is_judged_before_and_after_the_switch() -> None:
    text = (
        "{type: blue-green, preview: {host: Next.Shop.example}, pre_promotion: {},"
        " post_promotion: {limits: {error_rate: 2%}}}"
    )
    found = service(f"{HTTP}deploy: {{strategy: {text}}}").strategy
    assert found.preview == Preview(host="next.shop.example")
    assert found.pre_promotion == AnalysisPolicy()
    assert found.post_promotion == AnalysisPolicy(
        compare=Compare(error_ratio=None, latency=None),
        limits=Limits(error_rate=0.02, latency_p99=None),
    )
    unseen = f"{{type: blue-green, pre_promotion: {{{CHECKED}}}}}"
    policy = service(f"{HTTP}deploy: {{strategy: {unseen}}}").strategy.pre_promotion
    assert policy is not None
    assert policy.compare == Compare(error_ratio=None, latency=None)


@pytest.mark.parametrize(
    ("ports", "text", "message"),
    [
        (HTTP, "pre_promotion: {}", "none reaches green before the switch: add `preview`"),
        (HTTP, "pre_promotion: {compare: {}}", "compare needs requests that are seen one by one"),
        (HTTP, "preview: {host: a.b}", "the switch comes at once, so that preview shows nothing"),
        ("", "preview: {host: a.b}, auto_promote: no", "preview needs requests that are seen"),
        ("", "post_promotion: {}", "but requests that are seen one by one: add `ports:`"),
        (HTTP, "post_promotion: {compare: {}}", "blue gets no request after the switch"),
        (HTTP, "analysis: {}", "none reaches green before the switch, which ends the rollout"),
        (
            HTTP,
            "post_promotion: {}, analysis: {compare: {}}",
            "green gets no request before the switch and blue none after it",
        ),
        (HTTP, "preview: {published: 80, host: a.b}", "green is reached at one place"),
        (
            HTTP.replace("80,", "80, published: 81,"),
            "preview: {published: 81}, auto_promote: no",
            "port 81 is published by web: preview needs its own",
        ),
        (
            HTTP + "route: {hosts: [a.b]}\n",
            "preview: {host: a.b}, auto_promote: no",
            "host a.b is web's: preview needs its own",
        ),
    ],
)
def test_faults_of_blue_green(ports: str, text: str, message: str) -> None:
    assert message in faults(f"{ports}deploy: {{strategy: {{type: blue-green, {text}}}}}")


def test_beside_the_steps_of_blue_green_there_is_a_comparison_only_with_a_preview() -> None:
    shown = "preview: {host: a.b}, auto_promote: no, analysis: {compare: {latency: {}}}"
    found = service(f"{HTTP}deploy: {{strategy: {{type: blue-green, {shown}}}}}").strategy.analysis
    assert found is not None
    assert found.compare.latency is not None
    after = "{type: blue-green, analysis: {}, post_promotion: {}}"
    found = service(f"{HTTP}deploy: {{strategy: {after}}}").strategy.analysis
    assert found == AnalysisPolicy(compare=Compare(error_ratio=None, latency=None))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (
            "{type: blue-green, post_promotion: {limits: {error_rate: 1%}, compare: {}}}",
            "post_promotion.compare",
        ),
        (
            "{type: canary, steps: [{set_weight: 100%}, {analysis: {compare: {}}}]}",
            "steps[1].analysis.compare",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_where_it_stands(text: str, place: str) -> None:
    (problem,) = loaded(document(f"{HTTP}deploy: {{strategy: {text}}}")).errors
    assert problem.path == f"services.web.deploy.strategy.{place}"
    assert "gets no request" in problem.text
    assert "to compare with: use limits or checks" in problem.text


def test_shadow() -> None:
    found = service(f"{HTTP}deploy: {{strategy: shadow}}").strategy
    same = Compare(turned_ratio=3.0)
    expected = AnalysisPolicy(time_limit=600.0, compare=same)
    assert found == Strategy(kind=StrategyKind.SHADOW, analysis=expected)
    assert (found.mirror, found.duration) == (10_000, 600.0)
    text = "{type: shadow, mirror: 12.5%, duration: 5m, analysis: {limits: {error_rate: 2%}}}"
    found = service(f"{HTTP}deploy: {{strategy: {text}}}").strategy
    limits = Limits(error_rate=0.02, latency_p99=None)
    assert (found.mirror, found.duration) == (1_250, 300.0)
    assert found.analysis == AnalysisPolicy(limits=limits, time_limit=300.0, compare=same)
    text = "{type: shadow, analysis: {compare: {latency: {}}}}"
    slower = service(f"{HTTP}deploy: {{strategy: {text}}}").strategy.analysis
    assert slower is not None
    assert slower.compare.turned_ratio is None


def test_ab() -> None:
    text = "{type: ab, match: [{cookie: {name: group, exact: b}}], split: 20%, analysis: {}}"
    found = service(f"{HTTP}deploy: {{strategy: {text}}}").strategy
    assert (found.match, found.split) == ((Matcher(cookie="group", exact="b"),), 2_000)
    assert found.analysis == AnalysisPolicy()
    assert found.goal is None
    goals = [
        ("{path: /order}", UserGoal(path="/order")),
        (
            "{path_prefix: /thanks/, method: POST, status: 3xx}",
            UserGoal(path_prefix="/thanks/", method="POST", status=3),
        ),
    ]
    for text, goal in goals:
        text = f"{{type: ab, split: 5%, goal: {text}}}"
        assert service(f"{HTTP}deploy: {{strategy: {text}}}").strategy.goal == goal
    only = service(f"{HTTP}deploy: {{strategy: {{type: ab, split: 0.01%}}}}").strategy
    assert (only.match, only.split, only.analysis) == ((), 1, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type: shadow, mirror: 0%", "mirror: 0% shows the new revision nothing"),
        ("type: shadow, duration: 39s", "duration is over before the first look"),
        ("type: shadow, analysis: {time_limit: 1h}", "remove time_limit"),
        ("type: shadow, auto_promote: no", "only blue-green has a switch: remove auto_promote"),
        ("type: shadow, split: 5%", "only ab splits users: remove split"),
        ("type: shadow, goal: {path: /a}", "only ab compares what users do: remove goal"),
        ("type: ab, split: 5%, goal: {}", "a goal is at one place: path, or path_prefix"),
        ("type: ab, split: 5%, goal: {path: a}", "it starts with /"),
        ("type: ab, split: 5%, goal: {path: /a?b}", "what follows a ? is not looked at"),
        ("type: ab, split: 5%, goal: {path: /a, status: 200}", "use 2xx or 3xx or 4xx or 5xx"),
        ("type: ab, split: 5%, goal: {path: /a, method: get}", "use GET or HEAD"),
        ("type: ab", "ab shares out nobody: add match, or a split of more than 0%"),
        ("type: ab, match: [], split: 0%", "ab shares out nobody"),
        ("type: ab, split: 5%, duration: 5m", "only shadow ends by time: remove duration"),
        ("type: ab, split: 5%, on_failure: step_back", "step_back needs the weights of a canary"),
    ],
)
def test_faults_of_shadow_and_ab(text: str, message: str) -> None:
    assert message in faults(f"{HTTP}deploy: {{strategy: {{{text}}}}}")


def test_a_way_back_has_its_own_pace_but_the_same_strategy() -> None:
    found = service(f"deploy: {canary('{pause: {}}')[:-1]}, rollback_config: {{monitor: 1s}}}}")
    assert found.rollback.kind is StrategyKind.CANARY
    assert found.rollback.monitor == 1.0
    assert found.rollback.on_failure is OnFailure.PAUSE


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("{set_weight: 101%}", "4:60 '101%' is not a weight: write 0% to 100%"),
        ("{set_weight: 5}", "4:60 '5' is not a weight"),
        ("{set_weight: 0.001%}", "in hundredths at most"),
        ("{pause: 0s}", "4:55 '0s' is out of range: up to 30d, or {} until promoted"),
        ("{pause: 5}", "a duration needs a unit"),
        ("{pause: 1s, set_scale: 1}", "a step has one key"),
        ("{}", "4:47 a step has one key: set_weight, pause, set_scale, match, mirror or"),
        ("5", "must be a mapping"),
    ],
)
def test_faults_of_a_step_have_its_place(step: str, message: str) -> None:
    assert message in faults(f"deploy: {canary(step)}")


def test_steps_that_steer_and_judge() -> None:
    text = canary(
        "{match: [{header: {name: X-Group, exact: b}}, {cookie: {name: group, exact: b}}]}",
        "{mirror: 10%}",
        "{analysis: {compare: {error_rate: {}}, time_limit: 1h}}",
        "{match: []}",
        "{mirror: 0%}",
        more=", on_failure: step_back, analysis: {limits: {error_rate: 2%}}",
    )
    found = service(f"{HTTP}deploy: {text}").strategy
    both = (Matcher(header="x-group", exact="b"), Matcher(cookie="group", exact="b"))
    errors = Compare(latency=None)
    assert found.steps == (
        SetMatch(any_of=both),
        SetMirror(share=1_000),
        Analyse(policy=AnalysisPolicy(compare=errors, time_limit=3600.0)),
        SetMatch(),
        SetMirror(share=0),
    )
    assert found.on_failure is OnFailure.STEP_BACK
    assert found.analysis == AnalysisPolicy(limits=Limits(error_rate=0.02, latency_p99=None))


@pytest.mark.parametrize(
    ("ports", "step", "message"),
    [
        ("", "{match: []}", "match needs requests that are seen one by one: add `ports:`"),
        (
            "ports: ['80:8080']\n",
            "{mirror: 5%}",
            "port 8080 is tcp, add `app_protocol: http` to it in line 4",
        ),
        (
            "ports: ['80:8080']\n",
            "{analysis: {compare: {}}}",
            "5:59 compare needs requests that are seen one by one: port 8080 is tcp,"
            " add `app_protocol: http` to it in line 4, or use checks",
        ),
        ("", "{analysis: {limits: {}}}", "limits needs requests"),
        ("", "{analysis: {}}", "there is nothing to judge by but requests that are seen"),
        (HTTP, "{analysis: {}}", "none reaches the new revision before this step"),
        (HTTP, "{match: [{}]}", "match by one thing each: header or cookie"),
        (HTTP, "{match: [{header: {name: Host, exact: b}}]}", "use `route.hosts`"),
    ],
)
def test_what_no_request_can_tell_is_refused(ports: str, step: str, message: str) -> None:
    assert message in faults(f"{ports}deploy: {canary(step)}")


def test_every_fault_of_a_strategy_is_told_at_its_place() -> None:
    found = faults(
        f"deploy: {canary('{match: []}', '{set_weight: 2%}', '{analysis: {compare: {}}}')}"
    ).splitlines()
    assert [line.split()[0] for line in found] == ["4:47", "4:90"]


def test_all_that_asks_for_requests_is_told_in_its_own_line() -> None:
    found = faults(
        """deploy:
  strategy:
    type: canary
    steps:
      - set_weight: 5%
      - analysis:
          warm_up: 5s
          compare:
            error_rate: {max_ratio: 3}
          limits:
            error_rate: 5%
"""
    )
    assert [line.split()[:2] for line in found.splitlines()] == [
        ["11:15", "compare"],
        ["13:15", "limits"],
    ]


def test_checks_judge_where_no_request_is_seen() -> None:
    text = canary("{set_weight: 5%}", "{analysis: {checks: [{command: /bin/smoke}]}}")
    step = service(f"deploy: {text}").strategy.steps[1]
    assert isinstance(step, Analyse)
    assert step.policy.limits == Limits(error_rate=None, latency_p99=None)


def test_the_place_of_a_weight_that_goes_down() -> None:
    found = faults(f"deploy: {canary('{set_weight: 2%}', '{set_weight: 1%}')}")
    assert found.startswith("4:65 1% comes after 2%: weights only go up")


@pytest.mark.parametrize("kind", ["canary, steps: [{pause: {}}]", "blue-green", "shadow"])
def test_two_revisions_at_once_on_a_written_volume_are_an_error(kind: str) -> None:
    found = faults(f"{HTTP}{VOLUME}deploy: {{strategy: {{type: {kind}}}}}", rest=TOP)
    assert "runs two tasks at once on a volume that is written to: use rolling or recreate" in found
    assert service(
        f"{HTTP}volumes: ['s:/d']\ndeploy: {{strategy: {{type: {kind}}}}}", rest=TOP
    ).strategy.kind.weighted
