import pytest

from tests.unit.core.spec.stacks import errors, spec


def test_own_keys_are_allowed_in_every_section() -> None:
    text = """x-top: {any: [thing]}
services:
  web: {image: a, x-own: 1, deploy: {x-own: 1, placement: {x-own: 1}}, networks: {n: {x-own: 1}}}
networks: {n: {x-own: 1}}
"""
    assert set(spec(text).services) == {"web"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "1:1 unknown key a"),
        ("version: '3'", "1:1 services is missing"),
        ("services: {}", "1:11 must not be empty"),
        ("services: [a]", "1:11 must be a mapping"),
        ("services: {web: }", "1:17 must be a mapping"),
        ("services: {web: {}}", "1:17 image is missing"),
        ("services: {a.b: {image: x}}", "1:12 'a.b' is not a name"),
        ("name: A\nservices: {a: {image: x}}", "1:7 'A' is not a name of a stack"),
        ("include: [x]\nservices: {a: {image: x}}", "include is not supported by stackd"),
        ("servics: {a: {image: x}}", "unknown key servics: did you mean services?"),
    ],
)
def test_faults(text: str, message: str) -> None:
    assert any(message in line for line in errors(text)), errors(text)
