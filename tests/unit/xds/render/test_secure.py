"""Ports that speak TLS."""

import msgspec
import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from stackd.core.model.ids import RevisionId
from stackd.core.model.stack import AppProtocol, Route
from stackd.core.model.strategy import Preview
from stackd.core.model.traffic import IngressPort, Steering, TrafficEntry
from stackd.xds.render.table import Rendered, Renderer
from tests.fakes.certificates import certificate
from tests.unit.xds.render.test_table import HTTP, endpoint, entry, routes, unpack

TLS = IngressPort(published=443, target=8080, protocol=AppProtocol.HTTP)
CERT = certificate("shop.test")
KEY = "secret/cert/v1"


def secured(name: str = "web", key: str = KEY, **route: object) -> TrafficEntry:
    wanted = msgspec.structs.replace(Route(tls="cert"), **route)
    return entry(endpoint(1), name=name, ports=(HTTP, TLS), route=wanted, tls=key)


def render(*entries: TrafficEntry, **contents: bytes) -> Rendered:
    held = {KEY: CERT, **contents}
    return Renderer(held.get).render(entries, (), {})


def listener(rendered: Rendered, port: int) -> listener_pb2.Listener:
    found: listener_pb2.Listener = unpack(
        rendered.snapshot.listeners[f"port-{port}"], listener_pb2.Listener()
    )
    return found


def test_the_plain_port_leads_to_the_one_that_speaks_tls() -> None:
    found = render(secured())
    assert found.problems == {}
    assert not listener(found, 80).filter_chains[0].HasField("transport_socket")
    (moved,) = routes(found, 80).virtual_hosts[0].routes
    assert moved.redirect.https_redirect
    assert moved.redirect.port_redirect == 0
    (chain,) = listener(found, 443).filter_chains
    assert chain.HasField("transport_socket")
    (served,) = routes(found, 443).virtual_hosts[0].routes
    assert served.route.cluster == "shop/web/8080/http/r1"
    secret = unpack(found.snapshot.secrets["secret/cert"], secret_pb2.Secret())
    assert secret.tls_certificate.private_key.inline_bytes.startswith(b"-----BEGIN PRIVATE KEY")
    assert secret.tls_certificate.certificate_chain.inline_bytes in CERT


def test_another_port_may_redirect_and_a_single_one_speaks_tls() -> None:
    found = render(secured(redirect_from=443))
    (moved,) = routes(found, 443).virtual_hosts[0].routes
    assert moved.redirect.port_redirect == 80
    alone = msgspec.structs.replace(secured(), ports=(HTTP,))
    assert listener(render(alone), 80).filter_chains[0].HasField("transport_socket")


def test_a_new_version_changes_no_listener_and_no_route() -> None:
    before = render(secured()).snapshot
    after = render(secured(key="secret/cert/v2"), **{"secret/cert/v2": certificate("b.test")})
    assert after.snapshot.listeners == before.listeners
    assert after.snapshot.routes == before.routes
    assert after.snapshot.secrets != before.secrets


def test_each_host_gets_the_certificate_of_its_service() -> None:
    api = secured("api", "secret/other/v1", hosts=("api.test", "*.api.test"))
    web = secured("web")
    found = render(api, web, **{"secret/other/v1": certificate("api.test")})
    chains = {tuple(c.filter_chain_match.server_names) for c in listener(found, 443).filter_chains}
    assert chains == {(), ("*.api.test", "api.test")}
    assert set(found.snapshot.secrets) == {"secret/cert", "secret/other"}


def shown(*names: str, hosts: tuple[str, ...]) -> list[list[str]]:
    """The names of the chains that port 443 has more while `next.test` shows a preview."""
    whole = [secured(name, hosts=hosts) for name in names]
    green = Steering(preview=Preview(host="Next.test"), previewed=RevisionId("r1"))
    previewed = [msgspec.structs.replace(one, steering=green) for one in whole]
    before = listener(render(*whole), 443).filter_chains
    after = listener(render(*previewed), 443).filter_chains
    assert list(after[: len(before)]) == list(before)
    return [list(chain.filter_chain_match.server_names) for chain in after[len(before) :]]


def test_a_preview_with_a_host_that_no_certificate_is_for_has_a_chain_of_its_own() -> None:
    assert shown("web", hosts=("shop.test",)) == [["next.test"]]
    assert shown("web", "zoo", hosts=("shop.test",)) == [["next.test"]]
    for covering in ((), ("shop.test", "*.test"), ("next.test", "shop.test")):
        assert shown("web", hosts=covering) == []


def test_without_its_secret_a_port_is_never_open_in_the_clear() -> None:
    found = render(secured(key=""))
    assert set(found.snapshot.listeners) == {"port-80"}
    assert "There is no secret cert" in found.problems["shop/web"]


def test_a_certificate_that_has_not_come_yet_closes_nothing() -> None:
    found = render(secured(key="secret/late/v1"))
    assert set(found.snapshot.listeners) == {"port-80", "port-443"}
    assert found.snapshot.secrets == {}
    assert "has not come" in found.problems["shop/web"]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not PEM",
        CERT[: CERT.index(b"-----BEGIN PRIVATE")],
        CERT[CERT.index(b"-----BEGIN PRIVATE") :],
        CERT[: CERT.index(b"-----BEGIN PRIVATE")]
        + certificate("x")[certificate("x").index(b"-----BEGIN PRIVATE") :],
        CERT.replace(b"\nM", b"\n!"),
    ],
)
def test_what_is_no_certificate_with_its_key_is_said(value: bytes) -> None:
    found = render(secured(key="secret/bad/v1"), **{"secret/bad/v1": value})
    assert "no certificate with its key" in found.problems["shop/web"]
    assert found.snapshot.secrets == {}


def test_a_service_without_a_certificate_on_a_port_that_speaks_tls_is_named() -> None:
    plain = entry(endpoint(2), name="zplain", ports=(TLS,), route=Route(path_prefix="/z"))
    assert "speaks TLS for shop/web" in render(secured(), plain).problems["shop/zplain"]
