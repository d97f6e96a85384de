"""Tasks ask their gateway for names, over the real data plane, as a container's libc does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import dnslib
import pytest

from stackd.agent.dns import DnsServer
from stackd.agent.resolvers import Resolvers
from stackd.core.model.assignment import AttachmentItem
from tests.host import netlab
from tests.host.netlab import Lab, entry, inside

pytestmark = pytest.mark.host

A, B, VIP = "10.231.1.40", "10.231.3.40", "10.231.1.200"


def attachment(task: str, network: str, address: str) -> AttachmentItem:
    return AttachmentItem(
        task=task,
        network=network,
        address=address,
        node="n1",
        stack="lab",
        service=task,
        slot="1",
    )


def ask(server: str, name: str, timeout: float = 5.0) -> list[str] | str:
    try:
        answer = dnslib.DNSRecord.question(name).send(server, 53, timeout=timeout)
    except OSError as error:
        return type(error).__name__
    record = dnslib.DNSRecord.parse(answer)
    if record.header.rcode:
        return str(dnslib.RCODE[record.header.rcode])
    return [str(found.rdata) for found in record.rr]


def ask_tcp(server: str, name: str) -> list[str]:
    answer = dnslib.DNSRecord.question(name).send(server, 53, tcp=True, timeout=5.0)
    return [str(found.rdata) for found in dnslib.DNSRecord.parse(answer).rr]


@contextlib.asynccontextmanager
async def answering(lab: Lab) -> AsyncIterator[DnsServer]:
    dns = DnsServer(lab.network, Resolvers(()))
    job = asyncio.ensure_future(dns.run())
    try:
        yield dns
    finally:
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)


async def test_tasks_ask_at_their_gateway_and_nobody_elses() -> None:
    async with netlab.lab() as lab:
        front, inner = str(netlab.FRONT.id), str(netlab.INNER.id)
        await lab.network.configure(
            netlab.NETWORKS,
            (netlab.NODE,),
            (attachment("taska", front, A), attachment("taskb", inner, B)),
        )
        a, b = await lab.attach("taska", front=A), await lab.attach("taskb", inner=B)
        async with answering(lab) as dns:
            dns.services([entry("web", VIP, A)])
            gateway, other = "10.231.1.1", "10.231.3.1"
            await served(lab)
            assert await inside(a, ask, gateway, "web") == [VIP]
            assert await inside(a, ask_tcp, gateway, "tasks.web.lab") == [A]
            assert await inside(b, ask, other, "web") == "NXDOMAIN"
            assert await inside(b, ask, other, "example.com") == "NXDOMAIN"
            assert await inside(a, ask, gateway, "example.com") == "SERVFAIL"
            assert await inside(a, ask, other, "web", 0.5) == "TimeoutError"
            routes = await netlab.run_in(lab.host, "ip", "route", "show", netlab.POOL)
            assert await inside(lab.host, ask, routes.split()[2], "web") == "REFUSED"


async def served(lab: Lab) -> None:
    """Return when the server has its port."""

    def taken() -> bool:
        sockets = Path("/proc/thread-self/net/udp").read_text().splitlines()[1:]
        return any(line.split()[1].endswith(":0035") for line in sockets)

    for _ in range(500):
        if await inside(lab.plane(), taken):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the server has not taken its port")
