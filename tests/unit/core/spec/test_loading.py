import pytest

from stackd.core.spec import Context, Origin, SourceFile, load, wanted_files
from tests.unit.core.spec.stacks import GIT, document, errors, loaded


def source(text: str, name: str = "shop.stack.yml") -> list[SourceFile]:
    return [SourceFile(name, text.encode())]


@pytest.mark.parametrize(
    ("name", "text", "context", "expected"),
    [
        ("x/shop.stack.yml", "", GIT, "shop"),
        ("x/shop.stack.yml", "name: other\n", GIT, "other"),
        ("x/shop.stack.yml", "name: other\n", Context(Origin.CLI, name="opt"), "opt"),
        ("x/stack.yml", "", GIT, "x"),
        ("stack.yml", "", Context(Origin.GIT, root_name="repo"), "repo"),
        ("-", "", Context(Origin.CLI, name="opt"), "opt"),
        ("-", "name: ${N}\n", Context(Origin.CLI, {"N": "n"}), "n"),
    ],
)
def test_names(name: str, text: str, context: Context, expected: str) -> None:
    found = load(source(text + document(""), name), context)
    assert found.bundle, [str(p) for p in found.problems]
    assert found.bundle.spec.name == expected


def test_a_stack_without_a_name_is_refused() -> None:
    (problem,) = load(source(document(""), "-"), Context(Origin.CLI)).errors
    assert str(problem) == "-: the stack has no name: write `name:` in the file or give --name"
    (problem,) = load(source(document("")), Context(Origin.CLI, name="A b")).errors
    assert "'A b' is not a name of a stack" in problem.text


def test_a_bundle_only_without_errors_and_with_its_warnings() -> None:
    found = loaded(document("build: ."))
    assert found.bundle
    assert found.bundle.warnings == found.problems
    assert loaded(document("nope: 1")).bundle is None


def test_no_files_are_no_stack() -> None:
    assert load([], GIT).bundle is None


def test_problems_of_every_file_are_reported() -> None:
    files = [SourceFile("a.yml", b"a: ["), SourceFile("b.yml", b"\xff")]
    assert [p.file for p in load(files, GIT).errors] == ["a.yml", "b.yml"]


def test_wanted_files() -> None:
    text = document("env_file: [./a.env, {path: b/$N.env}, ../no, ~/no]") + (
        "configs: {c: {file: conf/c}, d: {content: x}}\nsecrets: {s: {file: /etc/s}}\n"
    )
    context = Context(Origin.GIT, files={".env": b"N=n"})
    assert wanted_files(source(text), context) == (".env", "a.env", "b/n.env", "conf/c")
    cli = Context(Origin.CLI, files={".env": b"N=n"})
    assert "/etc/s" in wanted_files(source(text), cli)
    assert wanted_files(source("["), GIT) == (".env",)
    assert wanted_files(source("services: {web: x, b: {env_file: x}}"), GIT) == (".env", "x")


def test_the_managers_environment_is_never_read() -> None:
    assert "PATH is not set" in errors(document("environment: {A: $PATH}"))[0]
