import pytest

from stackd.core.spec import Context, Origin
from tests.unit.core.spec.stacks import document, errors, loaded, service, warnings

SET = {"V": "v", "EMPTY": "", "N": "3"}
GIT = Context(Origin.GIT, SET)
CLI = Context(Origin.CLI, SET)


def value(text: str, context: Context = GIT) -> str:
    return service(f"environment: {{A: '{text}'}}", context).container.environment["A"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$V", "v"),
        ("${V}x$V", "vxv"),
        ("${U:-d}", "d"),
        ("${U-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${EMPTY}", ""),
        ("${V:?no}", "v"),
        ("${EMPTY?no}", ""),
        ("$$V $${V}", "$V ${V}"),
        ("${U:-${W:-$V}}", "v"),
        ("${U:-a:b?c-d}", "a:b?c-d"),
        ("${V:-$(id)}", "v"),
        ("{{ V.__class__ }}", "{{ V.__class__ }}"),
    ],
)
def test_forms(text: str, expected: str) -> None:
    assert value(text) == expected


def test_keys_are_left_alone() -> None:
    environment = service("environment: {A$V: x}", GIT).container.environment
    assert environment == {"A$V": "x"}


def test_values_are_typed_after_interpolation() -> None:
    assert service("deploy: {replicas: $N}", GIT).replicas == 3
    assert service("read_only: ${U:-on}", GIT).container.read_only


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$U", "4:23 U is not set: give a default"),
        ("ab ${U}", "4:26 U is not set"),
        ("${U:?give it}", "4:23 U must be set: give it"),
        ("${EMPTY:?}", "EMPTY must be set"),
        ("${V", "4:23 `${` is not closed"),
        ("${V!x}", "`${…}` holds no reference"),
        ("${}", "`${…}` holds no reference"),
        ("5$", "4:24 `$` starts no reference"),
        ("$(id)", "`$` starts no reference"),
        ("${U:-" * 12 + "x" + "}" * 12, "nested too deeply"),
    ],
)
def test_faults_have_their_place(text: str, expected: str) -> None:
    found = errors(document(f"environment: {{A: '{text}'}}"), GIT)
    assert len(found) == 1
    assert expected in found[0]


def test_a_bad_reference_is_one_problem_only() -> None:
    assert len(errors(document("deploy: {replicas: $U}"), GIT)) == 1


def test_cli_reads_unset_as_empty_and_warns() -> None:
    assert value("a${U}b", CLI) == "ab"
    assert warnings(document("environment: {A: 'a$U'}"), CLI) == [
        "4:24 U is not set and read as empty"
    ]


def test_dotenv_is_read_and_the_callers_variables_win() -> None:
    context = Context(Origin.GIT, {"V": "flag"}, {".env": b"V=file\nW=file"})
    assert value("$V $W", context) == "flag file"


def test_growth_is_bounded() -> None:
    context = Context(Origin.GIT, {"V": "x" * 100_000})
    found = loaded(document("environment: {A: '" + "$V" * 1000 + "'}"), context)
    assert [p.text for p in found.errors] == ["the stack has more than 2097152 characters"]
