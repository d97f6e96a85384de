from collections.abc import Mapping

from stackd.core.spec import Context, Origin
from tests.unit.core.spec.stacks import GIT, document, faults, service, warnings


def env(keys: str, context: Context = GIT) -> Mapping[str, str]:
    return service(keys, context).container.environment


def test_map_and_list_forms_keep_the_text() -> None:
    assert env("environment: {A: no, B: 1.10, C: 0777, D: '', E: 'x y'}") == {
        "A": "no",
        "B": "1.10",
        "C": "0777",
        "D": "",
        "E": "x y",
    }
    assert env("environment: [A=1, 'B=x=y', C=]") == {"A": "1", "B": "x=y", "C": ""}


def test_files_come_first_and_later_files_win() -> None:
    context = Context(Origin.GIT, files={"a": b"A=1\nB=1\nC=1", "sub/b": b"B=2\nC=2"})
    keys = "env_file: [a, {path: ./sub/b}, {path: gone, required: false}]\nenvironment: {C: 3}"
    assert env(keys, context) == {"A": "1", "B": "2", "C": "3"}
    assert env("env_file: a", context) == {"A": "1", "B": "1", "C": "1"}


def test_nothing_is_interpolated_in_files() -> None:
    context = Context(Origin.GIT, {"V": "v"}, {"a": b"A=$V ${V}"})
    assert env("env_file: a", context) == {"A": "$V ${V}"}


def test_null_values_are_the_callers() -> None:
    context = Context(Origin.CLI, {"HOME": "/me"})
    assert env("environment: {HOME: , GONE: }", context) == {"HOME": "/me"}
    assert warnings(document("environment: [HOME, GONE]"), context) == [
        "4:25 GONE has no value here or in your environment: left out"
    ]
    assert "4:19 HOME has no value, and Git has no environment" in faults("environment: [HOME]")
    assert "4:19 HOME has no value" in faults("environment: {HOME: }")


def test_faults() -> None:
    assert "4:15 there is no file gone" in faults("env_file: gone")
    assert "leaves the stack file's folder" in faults("env_file: [../x]")
    assert "is absolute" in faults("env_file: [/etc/shadow]")
    assert "'A=B' is not a name for a variable" in faults("environment: {A=B: x}")
    assert "must be a single value" in faults("environment: {A: [x]}")
    assert "format is not supported" in faults("env_file: [{path: a, format: raw}]")


def test_a_bad_line_is_named_by_its_file() -> None:
    context = Context(Origin.GIT, files={"a": b"A=1\nnot a line"})
    assert faults("env_file: a", context) == "2:1 expected NAME=value"
