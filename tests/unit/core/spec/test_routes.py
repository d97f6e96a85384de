from stackd.core.model.stack import Route
from stackd.core.spec.routes import keys
from tests.unit.core.spec.stacks import errors, faults, service

PORT = "ports: [{target: 8080, published: 80, app_protocol: http}]\n"


def test_defaults() -> None:
    assert service(PORT + "route: {}").route == Route()


def test_all_keys() -> None:
    keys = (
        "route: {hosts: [Shop.example, '*.x.y'], path_prefix: /api, timeout: 15s,"
        " upstream_idle_timeout: 2s, retries: 0, retry_on: idempotent}"
    )
    assert service(PORT + keys).route == Route(
        hosts=("shop.example", "*.x.y"),
        path_prefix="/api",
        timeout=15.0,
        upstream_idle_timeout=2.0,
        retries=0,
        retry_on="idempotent",
    )


def test_a_route_on_tcp_names_the_line_to_add() -> None:
    found = faults("ports: ['80:8080']\nroute: {path_prefix: /}")
    assert found == "5:5 port 8080 is tcp: add `app_protocol: http` to it in line 4"
    assert "needs a published http port" in faults("route: {}")


def test_faults() -> None:
    assert "x is not declared" in faults(PORT + "route: {tls: {secret: x}}")
    assert "it starts with /" in faults(PORT + "route: {path_prefix: api}")
    assert "is not a host name" in faults(PORT + "route: {hosts: ['a b']}")
    assert "'5xx' is unknown" in faults(PORT + "route: {retry_on: 5xx}")


def test_keys_tell_what_a_route_takes() -> None:
    assert keys(Route(hosts=("a", "b"), path_prefix="/x")) == (("a", "/x"), ("b", "/x"))
    assert keys(None) == keys(Route()) == (("", "/"),)


def test_shared_ports_of_a_stack() -> None:
    text = "services:\n" + "".join(
        f"  {name}:\n    image: x\n    ports: [{{target: 1, published: 80, {protocol}}}]\n{route}"
        for name, protocol, route in (
            ("a", "app_protocol: http", "    route: {hosts: [a]}\n"),
            ("b", "app_protocol: http", "    route: {hosts: [b]}\n"),
            ("c", "app_protocol: http", "    route: {hosts: [a, c]}\n"),
            ("d", "protocol: tcp", ""),
        )
    )
    assert errors(text) == [
        "12:12 port 80 is published by a too for the same hosts and path: give each a `route`",
        "16:12 port 80 is published by a too: only http ports can be shared",
    ]


TWO = (
    "ports: [{target: 8080, published: 80, app_protocol: http},"
    " {target: 8080, published: 443, app_protocol: http}]\n"
)


def test_tls_needs_a_declared_secret_and_a_redirect_somewhere_to_lead() -> None:
    secrets = "secrets: {cert: {external: true}}"
    made = service(TWO + "route: {tls: {secret: cert}}", rest=secrets).route
    assert made == Route(tls="cert")
    made = service(TWO + "route: {tls: {secret: cert, redirect_from: 443}}", rest=secrets).route
    assert made == Route(tls="cert", redirect_from=443)
    assert "secret" in faults(TWO + "route: {tls: {}}")
    for given in (
        PORT + "route: {tls: {secret: c, redirect_from: 80}}",
        TWO + "route: {tls: {secret: c, redirect_from: 81}}",
    ):
        assert "one of the service's http ports" in faults(given)
