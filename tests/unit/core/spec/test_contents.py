import pytest

from stackd.core.model.container import Grant
from stackd.core.model.stack import ContentSpec
from stackd.core.spec import Context, Origin
from tests.unit.core.spec.stacks import CLI, GIT, document, errors, faults, loaded, service

TOP = """configs:
  app: {content: "a $$ b"}
  file: {file: ./conf/x.ini, name: literal}
secrets:
  pw: {file: pw.txt, labels: {team: a}}
  far: {external: true}
"""
FILES = Context(Origin.GIT, files={"conf/x.ini": b"\x00raw", "pw.txt": b"hunter2"})


def test_contents_travel_beside_the_spec() -> None:
    bundle = loaded(document("") + TOP, FILES).bundle
    assert bundle is not None
    assert bundle.contents == {
        "config/app": b"a $ b",
        "config/file": b"\x00raw",
        "secret/pw": b"hunter2",
    }
    assert bundle.spec.configs == {
        "app": ContentSpec(name="shop_app"),
        "file": ContentSpec(name="literal"),
    }
    assert bundle.spec.secrets == {
        "pw": ContentSpec(name="shop_pw", labels={"team": "a"}),
        "far": ContentSpec(name="far", external=True),
    }
    assert "hunter2" not in repr(bundle)


def test_grants() -> None:
    keys = """configs: [app, {source: file, target: etc/x.ini, mode: 0440, uid: "7", gid: 8}]
secrets: [pw, {source: far, target: /etc/far}, {source: pw, target: other}]"""
    found = service(keys, FILES, TOP).container
    assert found.configs == (
        Grant(name="app", target="/app"),
        Grant(name="file", target="/etc/x.ini", uid=7, gid=8, mode=0o440),
    )
    assert [grant.target for grant in found.secrets] == [
        "/run/secrets/pw",
        "/etc/far",
        "/run/secrets/other",
    ]


def test_the_environment_is_a_source_on_the_command_line_only() -> None:
    text = document("") + "secrets: {pw: {environment: PW}}"
    bundle = loaded(text, Context(Origin.CLI, {"PW": "s3"})).bundle
    assert bundle is not None
    assert bundle.contents == {"secret/pw": b"s3"}
    assert "the environment variable PW is not set" in errors(text, CLI)[0]
    assert "Git has none" in errors(text, GIT)[0]


def test_a_secrets_content_is_beside_the_spec_and_in_no_complaint() -> None:
    text = document("") + "secrets: {pw: {content: '${PW}!'}, own: {content: s3cret}}"
    bundle = loaded(text, Context(Origin.CLI, {"PW": "hunter2"})).bundle
    assert bundle is not None
    assert bundle.contents == {"secret/pw": b"hunter2!", "secret/own": b"s3cret"}
    assert "hunter2" not in repr(bundle)
    for wrong in ("[hunter2]", "{a: hunter2}", "hunter2, file: x", '"hunter2', "hunter2: b: c"):
        found = errors(document("") + f"secrets: {{pw: {{content: {wrong}}}}}")
        assert found
        assert "hunter2" not in " ".join(found)


def test_sizes_are_capped() -> None:
    text = document("") + "secrets: {pw: {file: pw}}\nconfigs: {app: {file: app}}"
    most = Context(Origin.GIT, files={"pw": b"x" * 512_000, "app": b"x" * 1_024_000})
    assert errors(text, most) == []
    over = Context(Origin.GIT, files={"pw": b"x" * 512_001, "app": b"x" * 1_024_001})
    assert [line.split(" ", 1)[1] for line in errors(text, over)] == [
        "a secret has at most 500 KiB",
        "a config has at most 1000 KiB",
    ]


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("configs: {a: {}}", "4:14 a config has exactly one of `content`, `file`"),
        ("configs: {a: {file: x, content: y}}", "not content and file"),
        ("secrets: {a: {file: x, external: true}}", "not file and external"),
        ("secrets: {a: {content: x, external: true}}", "not content and external"),
        ("secrets: {a: {driver: vault}}", "driver is not supported yet"),
        (
            "configs: {a: {file: x, template_driver: golang}}",
            "template_driver is not supported yet",
        ),
        ("configs: {a: {file: none}}", "there is no file none"),
        ("configs: {a: {file: ../x}}", "../x leaves the stack file's folder"),
        ("configs: {a: {file: /etc/shadow}}", "/etc/shadow is absolute"),
        ("configs: {a: {file: ~/x}}", "starts with `~`"),
        ("configs: {a: }", "must be a mapping"),
    ],
)
def test_declaration_faults(rest: str, message: str) -> None:
    assert message in faults("", rest=rest)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("configs: [none]", "4:15 none is not declared: add it under `configs:`"),
        ("secrets: [{source: pw, target: ../x}]", "../x is not the path of a file"),
        ("secrets: [{source: pw, mode: 288}]", "is not a file mode"),
        ("secrets: [{source: pw, uid: root}]", "is not whole"),
        ("secrets: [pw, pw]", "two secrets stand at /run/secrets/pw"),
    ],
)
def test_grant_faults(keys: str, message: str) -> None:
    assert message in faults(keys, FILES, TOP)
