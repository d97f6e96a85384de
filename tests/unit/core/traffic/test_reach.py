"""What a feature toggle means to one asker."""

from collections.abc import Mapping

import pytest

from stackd.core.model.toggle import Toggle, ToggleRule
from stackd.core.traffic.reach import Answer, KeyMissing, bucket, evaluate

NOBODY: Mapping[str, object] = {}


def user(name: object, **attributes: object) -> Mapping[str, object]:
    return {"targetingKey": name, **attributes}


def test_all_and_nothing_need_no_key() -> None:
    assert evaluate("s", "f", Toggle(share=10_000), NOBODY) == Answer(True, "on", "STATIC")
    assert evaluate("s", "f", Toggle(), NOBODY) == Answer(False, "off", "STATIC")


@pytest.mark.parametrize("context", [NOBODY, user(""), user(3), user(None)])
def test_a_share_needs_a_key(context: Mapping[str, object]) -> None:
    with pytest.raises(KeyMissing):
        evaluate("s", "f", Toggle(share=1), context)


@pytest.mark.parametrize("share", [100, 1_000, 5_000, 9_900])
def test_a_share_is_kept_and_grows_without_taking_anybody_back(share: int) -> None:
    users = [user(f"user-{n}") for n in range(20_000)]

    def reached(share: int) -> set[int]:
        toggle = Toggle(share=share, value="b", otherwise="a")
        answers = (evaluate("s", "f", toggle, context) for context in users)
        return {n for n, answer in enumerate(answers) if answer.value == "b"}

    found = reached(share)
    spread = 4 * (share / 10_000 * (1 - share / 10_000) / len(users)) ** 0.5
    assert abs(len(found) / len(users) - share / 10_000) <= spread
    assert found < reached(share + 50)


def test_services_of_a_stack_agree_and_toggles_do_not_march_in_step() -> None:
    keys = [f"user-{n}" for n in range(1000)]
    one = {key for key in keys if bucket("s", "f", key) < 5_000}
    assert one == {key for key in keys if bucket("s", "f", key) < 5_000}
    other = {key for key in keys if bucket("s", "g", key) < 5_000}
    assert 150 < len(one & other) < 350, "independent halves share a quarter"
    assert bucket("s", "f", "ann") == 9600, "never changes: users would change sides"


def test_buckets_reach_both_ends() -> None:
    found = {bucket("s", "f", str(n)) for n in range(200_000)}
    assert (min(found), max(found)) == (0, 9_999)


RULES = (
    ToggleRule(attribute="plan", any_of=("pro", "team")),
    ToggleRule(attribute="beta", any_of=("true",), share=0),
    ToggleRule(attribute="level", any_of=("3", "1.5"), share=10_000),
)


@pytest.mark.parametrize(
    ("attributes", "on"),
    [
        ({"plan": "pro"}, True),
        ({"plan": "free"}, False),
        ({"plan": ["pro"]}, False),
        ({"beta": True}, False),
        ({"beta": True, "level": 3}, False),
        ({"level": 3}, True),
        ({"level": 3.0}, True),
        ({"level": 1.5}, True),
        ({"level": "3"}, True),
        ({"level": 4}, False),
        ({"level": None}, False),
    ],
)
def test_the_first_rule_that_matches_decides(attributes: dict[str, object], on: bool) -> None:
    found = evaluate("s", "f", Toggle(rules=RULES), attributes)
    assert (found.value, found.variant) == (on, "on" if on else "off")


def test_why_is_told() -> None:
    half = ToggleRule(attribute="plan", any_of=("pro",), share=5_000)
    toggle = Toggle(rules=(half, *RULES))
    assert evaluate("s", "f", toggle, user("ann", plan="pro")).reason == "SPLIT"
    assert evaluate("s", "f", toggle, user("ann", plan="team")).reason == "TARGETING_MATCH"
    assert evaluate("s", "f", toggle, user("ann")).reason == "STATIC"
