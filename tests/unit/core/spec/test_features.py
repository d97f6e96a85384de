"""`features` of a stack file."""

import pytest

from stackd.core.model.toggle import Toggle, ToggleRule
from tests.unit.core.spec.stacks import faults, service


def feature(text: str) -> Toggle:
    return service(f"features: {{f: {text}}}").features["f"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", Toggle(share=10_000)),
        ("off", Toggle()),
        ("{}", Toggle()),
        ("{rollout: 10%}", Toggle(share=1_000)),
        ("{rollout: 0.25%}", Toggle(share=25)),
        (
            "{rollout: 100%, value: b, otherwise: a}",
            Toggle(share=10_000, value="b", otherwise="a"),
        ),
        ("{value: 20, otherwise: 10}", Toggle(value=20, otherwise=10)),
        ("{value: 1.5, otherwise: 1}", Toggle(value=1.5, otherwise=1)),
        ("{value: 007, otherwise: x}", Toggle(value="007", otherwise="x")),
        ("{value: false, otherwise: true}", Toggle(value=False, otherwise=True)),
        ("{x-owner: ann}", Toggle()),
    ],
)
def test_forms(text: str, expected: Toggle) -> None:
    assert feature(text) == expected


def test_rules_keep_their_order() -> None:
    found = feature(
        "{rules: [{attribute: plan, any_of: [pro, 1, true]},"
        " {attribute: country, any_of: DE, rollout: 50%}]}"
    )
    assert found.rules == (
        ToggleRule(attribute="plan", any_of=("pro", "1", "true")),
        ToggleRule(attribute="country", any_of=("DE",), share=5_000),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{rollout: 101%}", "'101%' is not a share: write 0% to 100%"),
        ("{rollout: 10}", "'10' is not a share"),
        ("maybe", "is not a boolean: write true or false, or a mapping with `rollout`"),
        ("{percent: 10%}", "unknown key percent"),
        ("{value: blue}", "f: value is a text, otherwise is a boolean: give both, of one kind"),
        ("{value: 1, otherwise: one}", "value is a number, otherwise is a text"),
        ("{rules: [{attribute: 'a b', any_of: [x]}]}", "is not the name of an attribute"),
        ("{rules: [{attribute: a}]}", "any_of"),
    ],
)
def test_faults(text: str, message: str) -> None:
    assert message in faults(f"features: {{f: {text}}}")


def test_names_and_numbers_are_bounded() -> None:
    assert "is not a name" in faults("features: {'a/b': true}")
    many = ", ".join(f"f{n}: true" for n in range(101))
    assert "more than 100 features" in faults(f"features: {{{many}}}")
    rules = ", ".join("{attribute: a, any_of: x}" for _ in range(21))
    assert "f has more than 20 rules" in faults(f"features: {{f: {{rules: [{rules}]}}}}")
