import pytest

from stackd.core.model.container import ContainerSpec
from stackd.core.model.stack import DependsOn, ServiceSpec
from stackd.core.spec.service import ServiceSection
from tests.unit.core.spec.stacks import CLI, document, errors, faults, service, warnings

OTHERS = "  db: {image: x}\n  log: {image: x}\n"


def test_all_plain_keys() -> None:
    keys = """init: yes
working_dir: /srv
user: "1000:www-data"
hostname: web-1
labels: [a=1, b]
read_only: on
stop_signal: INT
stop_grace_period: 1m"""
    assert service(keys).container == ContainerSpec(
        image="demo:1",
        init=True,
        working_dir="/srv",
        user="1000:www-data",
        hostname="web-1",
        labels={"a": "1", "b": ""},
        read_only=True,
        stop_signal="SIGINT",
        stop_grace_period=60.0,
        networks=service("").container.networks,
    )


def test_defaults_are_those_of_the_model() -> None:
    found = service("")
    expected = ServiceSpec(name="web", container=found.container, rollback=found.rollback)
    assert found == expected


def test_depends_on_forms() -> None:
    assert service("depends_on: [db]", rest=OTHERS).depends_on == {"db": DependsOn.STARTED}
    text = "depends_on: {db: {condition: service_healthy}, log: {}}"
    assert service(text, rest=OTHERS).depends_on == {
        "db": DependsOn.HEALTHY,
        "log": DependsOn.STARTED,
    }


@pytest.mark.parametrize(
    "image",
    ["a", "a:1.2", "docker.io/library/a", "localhost:5000/a/b_c:v", "r.io/a@sha256:" + "0" * 64],
)
def test_images(image: str) -> None:
    assert not errors(f"services: {{web: {{image: '{image}'}}}}")


@pytest.mark.parametrize("image", ["", "A", "a b", "a:", "-x", "a@sha256:1", "https://a/b", "a//b"])
def test_bad_images(image: str) -> None:
    assert "is not an image" in errors(f"services: {{web: {{image: '{image}'}}}}")[0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("privileged: true", "4:5 privileged is not supported yet"),
        ("devices: [/dev/fuse]", "devices is not supported yet"),
        ("mem_limit: 1g", "use deploy.resources.limits.memory"),
        ("network_mode: host", "network_mode is not supported by stackd: use networks"),
        ("enviroment: {}", "unknown key enviroment: did you mean environment?"),
        ("working_dir: srv", "is not an absolute path"),
        ("read_only: 1", "is not a boolean"),
        ("hostname: a_b", "is not a host name"),
        ("user: 'a b'", "is not a user"),
        ("stop_grace_period: 10", "needs a unit"),
        ("depends_on: {db: {condition: service_completed_successfully}}", "not supported yet"),
        ("depends_on: [nope]", "4:18 there is no service 'nope' to depend on"),
        ("image: again", "duplicate key image"),
    ],
)
def test_faults(keys: str, message: str) -> None:
    assert message in faults(keys)


def test_noted_keys_warn() -> None:
    found = warnings(document("build: .\ncontainer_name: x") + "version: '3.8'")
    assert [line.split(" ", 1)[1].split(":")[0] for line in found] == [
        "build is ignored",
        "container_name is ignored",
        "version is ignored",
    ]


def test_every_foreign_key_is_an_error_and_lenient_leaves_it_out() -> None:
    lenient = type(CLI)(CLI.origin, lenient=True)
    for key in sorted({*ServiceSection.FOREIGN, *ServiceSection.PLANNED}):
        text = document(f"{key}: x")
        assert f"4:5 {key} is not supported" in errors(text)[0]
        assert errors(text, lenient) == []
        assert f"4:5 {key} is not supported" in warnings(text, lenient)[0]
