"""Replacement, scaling and removal under load lose no request."""

import asyncio

import pytest

from tests.host import ingress
from tests.host.ingress import Lab, Load, entry, http

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]

RATE = 300.0


async def replace(lab: Lab, old: tuple[str, str], new: tuple[str, str]) -> None:
    """One task by one of another revision, by the drain protocol; the old one is killed at the
    moment it may be."""
    await lab.upstream(new[0], 8001)
    port = http(lab.port, 8001)
    both = [lab.endpoint(*old), lab.endpoint(*new)]
    await lab.proxy.apply([entry("web", both, port)])
    draining = [entry("web", [lab.endpoint(*old, ready=False), lab.endpoint(*new)], port)]
    await lab.proxy.apply(draining)
    await lab.drained(draining, old[0])
    await lab.proxy.apply([entry("web", [lab.endpoint(*new)], port)])
    await lab.upstreams.pop(old[0]).kill()


async def replacements(cycles: int) -> Load:
    """`cycles` replacements in a row under load."""
    async with ingress.lab() as lab:
        await lab.upstream("t0", 8001)
        await lab.proxy.apply([entry("web", [lab.endpoint("t0", "r0")], http(lab.port, 8001))])
        async with Load(lab.port, RATE) as load:
            await asyncio.sleep(0.3)
            for n in range(cycles):
                await replace(lab, (f"t{n}", f"r{n // 2}"), (f"t{n + 1}", f"r{(n + 1) // 2}"))
        return load


async def test_replacement_under_load_loses_nothing() -> None:
    load = await replacements(6)
    assert load.lost == {}
    assert set(load.answered) == {f"t{n}" for n in range(7)}


async def test_removal_under_load_only_refuses() -> None:
    async with ingress.lab() as lab:
        await lab.upstream("a", 8001)
        port = http(lab.port, 8001)
        await lab.proxy.apply([entry("web", [lab.endpoint("a")], port)])
        async with Load(lab.port, RATE, refused_ok=True) as load:
            await asyncio.sleep(3)
            withdrawn = [entry("web", [lab.endpoint("a")], port, listening=False)]
            await lab.proxy.apply(withdrawn)
            await lab.drained(withdrawn, "a")
            draining = [entry("web", [lab.endpoint("a", ready=False)], port, listening=False)]
            await lab.proxy.apply(draining)
            await lab.drained(draining, "a")
            await lab.proxy.apply([entry("web", [], port, listening=False)])
            await lab.upstreams["a"].kill()
            await asyncio.sleep(0.5)
        assert load.lost == {}
        assert load.refused > 0
        assert load.answered["a"] > 0
