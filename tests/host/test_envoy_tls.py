"""TLS at the ingress, against a real Envoy."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from msgspec.structs import replace

from stackd.core.model.ids import RevisionId
from stackd.core.model.strategy import Preview
from stackd.core.model.traffic import Steering, TrafficEntry
from tests.fakes.certificates import certificate, serial
from tests.host import ingress
from tests.host.ingress import Lab, entry, http

pytestmark = pytest.mark.host


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def shown(port: int, host: str) -> int:
    """The serial number of the certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=trusting(), server_hostname=host
    )
    try:
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(found).serial_number
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Here(AbstractResolver):
    """Finds every name on loopback."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0
            )
        ]

    async def close(self) -> None: ...


@contextlib.asynccontextmanager
async def resolved() -> AsyncIterator[ClientSession]:
    """A client with one connection."""
    connector = TCPConnector(limit=1, ssl=trusting(), resolver=Here())
    async with ClientSession(connector=connector) as session:
        yield session


async def ask(session: ClientSession, port: int) -> str:
    async with session.get(f"https://shop.test:{port}/", headers={"host": "shop.test"}) as answer:
        assert answer.status == 200
        return await answer.text()


def table(lab: Lab, version: str, *, hosts: tuple[str, ...] = ()) -> list[TrafficEntry]:
    route = ingress.route(tls="cert", redirect_from=lab.port, hosts=hosts)
    ports = (http(lab.port, 8001), http(lab.other_port, 8001))
    key = f"secret/cert/{version}"
    return [entry("web", [lab.endpoint("a")], *ports, route=route, tls=key)]


async def opened(port: int) -> None:
    """Envoy has the certificate and listens."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                await shown(port, "shop.test")
                return
            await asyncio.sleep(0.02)


async def test_a_new_certificate_is_shown_and_no_connection_is_touched() -> None:
    first, second = certificate("shop.test"), certificate("shop.test")
    async with ingress.lab() as lab, resolved() as client:
        await lab.upstream("a", 8001)
        lab.contents = {"secret/cert/v1": first, "secret/cert/v2": second}
        assert (await lab.proxy.apply(table(lab, "v1"))).problems == {}
        await opened(lab.other_port)
        assert await ask(client, lab.other_port) == "a 0"
        assert await shown(lab.other_port, "shop.test") == serial(first)
        lost: list[str] = []
        over = asyncio.Event()

        async def load() -> None:
            while not over.is_set():
                try:
                    assert await ask(client, lab.other_port) == "a 0"
                except Exception as error:
                    lost.append(repr(error))
                await asyncio.sleep(0.002)

        async with asyncio.TaskGroup() as group:
            group.create_task(load())
            assert (await lab.proxy.apply(table(lab, "v2"))).problems == {}
            async with asyncio.timeout(10):
                while await shown(lab.other_port, "shop.test") != serial(second):  # noqa: ASYNC110 another process
                    await asyncio.sleep(0.02)
            over.set()
        assert lost == []


async def test_plain_requests_are_sent_to_the_port_that_speaks_tls() -> None:
    async with ingress.lab() as lab:
        await lab.upstream("a", 8001)
        lab.contents = {"secret/cert/v1": certificate("shop.test")}
        await lab.proxy.apply(table(lab, "v1"))
        async with (
            ClientSession() as session,
            session.get(
                f"http://127.0.0.1:{lab.port}/x?y=1",
                headers={"host": f"shop.test:{lab.port}"},
                allow_redirects=False,
            ) as answer,
        ):
            assert answer.status == 308
            assert answer.headers["location"] == f"https://shop.test:{lab.other_port}/x?y=1"
        assert lab.upstreams["a"].seen == 0


async def test_a_preview_with_a_host_of_its_own_speaks_tls_and_touches_no_connection() -> None:
    async with ingress.lab() as lab:
        await lab.upstream("a", 8001)
        await lab.upstream("b", 8001)
        lab.contents = {"secret/cert/v1": certificate("shop.test")}
        [web] = table(lab, "v1", hosts=("shop.test",))
        web = replace(web, weights={"r1": 10000})
        green = Steering(preview=Preview(host="next.test"), previewed=RevisionId("r2"))
        both = (*web.endpoints, lab.endpoint("b", "r2"))
        await lab.proxy.apply([web])
        await opened(lab.other_port)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", lab.other_port, ssl=trusting(), server_hostname="shop.test"
        )

        async def still() -> None:
            """The same connection is answered, and not asked to close."""
            writer.write(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert b"connection: close" not in head.lower()
            assert await reader.readexactly(3) == b"a 0"

        for _ in range(3):
            await still()
            shown = [replace(web, endpoints=both, steering=green)]
            assert (await lab.proxy.apply(shown)).problems == {}
            await still()
            async with resolved() as other:
                async with other.get(f"https://next.test:{lab.other_port}/") as answer:
                    assert (answer.status, await answer.text()) == (200, "b 0")
                plain = f"http://next.test:{lab.port}/x"
                async with other.get(plain, allow_redirects=False) as answer:
                    assert answer.headers["location"] == f"https://next.test:{lab.other_port}/x"
            await still()
            assert (await lab.proxy.apply([web])).problems == {}
            await still()
        writer.close()


async def test_after_a_restart_of_the_agent_envoy_keeps_what_has_not_come_yet() -> None:
    pem = certificate("shop.test")
    async with ingress.lab() as lab, resolved() as client:
        await lab.upstream("a", 8001)
        lab.contents = {"secret/cert/v1": pem}
        await lab.proxy.apply(table(lab, "v1"))
        await opened(lab.other_port)
        assert await ask(client, lab.other_port) == "a 0"
        lab.contents = {}
        await lab.agent_restarts()
        late = await lab.proxy.apply(table(lab, "v1"))
        assert "has not come" in late.problems["shop/web"]
        assert await shown(lab.other_port, "shop.test") == serial(pem)
        assert await ask(client, lab.other_port) == "a 0"
        lab.contents["secret/cert/v1"] = pem
        assert (await lab.proxy.apply(table(lab, "v1"))).problems == {}
        assert await shown(lab.other_port, "shop.test") == serial(pem)


async def test_each_host_is_shown_its_own_certificate() -> None:
    shop, api = certificate("shop.test"), certificate("api.test")
    async with ingress.lab() as lab:
        await lab.upstream("a", 8001)
        lab.contents = {"secret/cert/v1": shop, "secret/other/v1": api}
        [web] = table(lab, "v1")
        port = http(lab.other_port, 8001)
        route = ingress.route(tls="other", hosts=("api.test",))
        other = entry("api", [lab.endpoint("a")], port, route=route, tls="secret/other/v1")
        assert (await lab.proxy.apply([web, other])).problems == {}
        await opened(lab.other_port)
        assert await shown(lab.other_port, "api.test") == serial(api)
        assert await shown(lab.other_port, "any.test") == serial(shop)


async def test_a_certificate_that_does_not_come_keeps_no_other_port_closed() -> None:
    pem = certificate("shop.test")
    async with ingress.lab() as lab:
        await lab.upstream("a", 8001)
        late = await lab.proxy.apply(table(lab, "v1"))
        assert "has not come" in late.problems["shop/web"]
        async with ClientSession() as session:
            url = f"http://127.0.0.1:{lab.port}/"
            async with session.get(url, allow_redirects=False) as answer:
                assert answer.status == 308
        assert (await ingress.status(lab.other_port))[0] == 0
        lab.contents["secret/cert/v1"] = pem
        assert (await lab.proxy.apply(table(lab, "v1"))).problems == {}
        await opened(lab.other_port)
        assert await shown(lab.other_port, "shop.test") == serial(pem)


async def test_without_any_secret_the_port_stays_closed_and_says_why() -> None:
    async with ingress.lab() as lab:
        await lab.upstream("a", 8001)
        port = http(lab.port, 8001)
        bare = entry("web", [lab.endpoint("a")], port, route=ingress.route(tls="cert"))
        assert "no secret cert" in (await lab.proxy.apply([bare])).problems["shop/web"]
        assert (await ingress.status(lab.port))[0] == 0
