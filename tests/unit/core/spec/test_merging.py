from stackd.core.model.stack import ServiceSpec
from stackd.core.spec import Context, Origin, SourceFile, load
from tests.unit.core.spec.stacks import GIT, document

TOP = "configs: {a: {content: x}, b: {content: x}}\nvolumes: {d: , e: }\n"


def merged(first: str, second: str) -> ServiceSpec:
    files = [
        SourceFile("a.yml", (document(first) + TOP).encode()),
        SourceFile("b.yml", ("services:\n  web:\n    " + second.replace("\n", "\n    ")).encode()),
    ]
    found = load(files, GIT)
    assert found.bundle, [str(p) for p in found.problems]
    return found.bundle.spec.services["web"]


def test_single_values_and_commands_are_replaced() -> None:
    found = merged("command: [a, b]\nuser: a\ninit: true", "command: [c]\nuser: b").container
    assert (found.command, found.user, found.init) == (("c",), "b", True)
    check = merged("healthcheck: {test: [CMD, a], interval: 1s}", "healthcheck: {test: [CMD, b]}")
    assert check.container.healthcheck
    assert check.container.healthcheck.command == ("b",)
    assert check.container.healthcheck.interval == 1.0


def test_pairs_are_merged_in_any_form() -> None:
    found = merged("environment: [A=1, B=1]\nlabels: {a: 1}", "environment: {B: 2}\nlabels: [b=2]")
    assert found.container.environment == {"A": "1", "B": "2"}
    assert found.container.labels == {"a": "1", "b": "2"}


def test_lists_are_joined() -> None:
    found = merged("tmpfs: /a\ncap_drop: [ALL]", "tmpfs: [/b]\ncap_drop: [ALL, KILL]").container
    assert [mount.target for mount in found.mounts] == ["/a", "/b"]
    assert found.cap_drop == ("CAP_ALL", "CAP_KILL")


def test_ports_are_one_per_published_port() -> None:
    found = merged(
        "ports: ['80:8080', '81:81']", "ports: [{target: 8080, published: 80, app_protocol: http}]"
    )
    assert [(p.published, p.protocol.value) for p in found.ports] == [(80, "http"), (81, "tcp")]


def test_mounts_and_grants_are_one_per_target() -> None:
    found = merged("volumes: ['d:/d', 'e:/e']\nconfigs: [a]", "volumes: ['e:/d']\nconfigs: [a, b]")
    assert [(m.source, m.target) for m in found.container.mounts] == [("e", "/d"), ("e", "/e")]
    assert [grant.name for grant in found.container.configs] == ["a", "b"]


def test_dependencies_and_networks_merge_in_any_form() -> None:
    files = [
        "services: {web: {image: x, depends_on: [a, b], networks: [n]},"
        " a: {image: x}, b: {image: x}}",
        "services: {web: {depends_on: {b: {condition: service_healthy}},"
        " networks: {m: {aliases: [q]}}}}\nnetworks: {n: , m: }",
    ]
    found = load(
        [SourceFile(f"{i}.yml", t.encode()) for i, t in enumerate(files)],
        Context(Origin.CLI, name="s"),
    )
    assert found.bundle, [str(p) for p in found.problems]
    web = found.bundle.spec.services["web"]
    assert {k: v.value for k, v in web.depends_on.items()} == {
        "a": "service_started",
        "b": "service_healthy",
    }
    assert [a.network for a in web.container.networks] == ["n", "m"]


def test_null_leaves_the_earlier_value_but_for_variables() -> None:
    found = merged("user: a\nports: ['80:80']", "user:\nports:")
    assert found.container.user == "a"
    assert len(found.ports) == 1


def test_names_that_look_like_keys_are_only_names() -> None:
    files = [
        "services: {command: {image: x, user: a}, test: {image: y}}",
        "services: {command: {init: true}, test: {init: true}}",
    ]
    found = load([SourceFile(f"s{i}.yml", t.encode()) for i, t in enumerate(files)], GIT)
    assert found.bundle, [str(p) for p in found.problems]
    assert found.bundle.spec.services["command"].container.user == "a"
    assert found.bundle.spec.services["test"].container.image == "y"


def test_problems_name_the_file_they_are_in() -> None:
    files = [
        SourceFile("a.yml", b"services: {web: {image: x}}\nbad: 1"),
        SourceFile("b.yml", b"services:\n  web: {imag: y}"),
    ]
    assert [str(p).split(" [")[0] for p in load(files, GIT).errors] == [
        "a.yml:2:1: unknown key bad",
        "b.yml:2:9: unknown key imag: did you mean image?",
    ]
