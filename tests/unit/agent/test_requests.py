"""Requests of one instance become batches, in order."""

import asyncio
from collections.abc import Sequence
from typing import Any

from stackd.agent.requests import Requests
from stackd.aio.clock import ManualClock
from stackd.core.model.ids import RevisionId
from stackd.core.model.requests import Count, Measured, Request
from stackd.core.model.variants import Tried
from stackd.errors import Unavailable


def request(number: int, instance: str = "t1", **fields: object) -> Request:
    values: dict[str, object] = {
        "stack": "shop",
        "service": "web",
        "revision": RevisionId("r1"),
        "instance": instance,
        "began": 100.0 + number,
        "seconds": number / 100,
        "failed": number % 10 == 3,
        **fields,
    }
    return Request(**values)  # type: ignore[arg-type]


async def counts() -> Sequence[Count]:
    return [Count(stack="shop", service="web", revision=RevisionId("r1"), requests=30, errors=1)]


async def reported(requests: Requests, clock: ManualClock, sent: list[Measured]) -> list[Measured]:
    """What five rounds send."""
    running = asyncio.ensure_future(requests.run(counts))
    await clock.advance(0.0)
    for _ in range(5):
        await clock.advance(1.0)
    running.cancel()
    return sent


async def test_ten_requests_of_an_instance_are_a_batch_the_rest_waits() -> None:
    clock, sent = ManualClock(), list[Measured]()
    requests = Requests(sent.append, clock)
    for number in range(25):
        requests.take(request(number, turned=number in (4, 11)))
        requests.take(request(number, "t2", shadow=True))
    found = await reported(requests, clock, sent)
    batches = [b for measured in found for b in measured.batches]
    assert [b.instance for b in batches] == ["t1", "t2/shadow"] * 2
    mine = [b for b in batches if b.instance == "t1"]
    assert [b.since for b in mine] == [100.0, 110.0]
    assert [b.failed for b in mine] == [(3,), (3,)]
    assert [b.turned for b in mine] == [(4,), (1,)]
    assert mine[0].seconds == tuple(number / 100 for number in range(10))
    assert mine[0].sequence < mine[1].sequence
    assert [c.requests for measured in found for c in measured.counts] == [30]


async def test_variants_are_counted_from_the_first_request_on_and_told_within_a_second() -> None:
    clock, sent = ManualClock(), list[Measured]()
    requests = Requests(sent.append, clock)
    counted: dict[str, Any] = {"judged": False, "counted": True, "goal": "/order 2xx"}
    for number in range(12):
        requests.take(request(number, reached=number < 5, **counted))
    requests.take(request(0, revision=RevisionId("r2"), **counted))
    requests.take(request(0, shadow=True, **counted))
    requests.take(request(0))
    found = await reported(requests, clock, sent)
    first = found[0]
    assert first.batches == ()
    assert {v.revision: v.tried for v in first.variants} == {
        "r1": Tried(requests=12, errors=1, goals=5),
        "r2": Tried(requests=1),
    }
    assert {(v.key, v.goal) for v in first.variants} == {("shop/web", "/order 2xx")}
    assert [m.variants for m in found[1:]] == [()]


async def test_sequences_grow_over_a_restart() -> None:
    clock, sent = ManualClock(), list[Measured]()
    first, second = Requests(sent.append, clock), Requests(sent.append, clock)
    for number in range(30):
        first.take(request(number))
    await reported(first, clock, sent)
    for number in range(10):
        second.take(request(number))
    await reported(second, clock, sent)
    sequences = [b.sequence for measured in sent for b in measured.batches]
    assert len(sequences) == 4
    assert sequences == sorted(set(sequences))


async def test_without_counters_requests_are_still_told() -> None:
    async def broken() -> Sequence[Count]:
        raise Unavailable("no Envoy")

    clock, sent = ManualClock(), list[Measured]()
    requests = Requests(sent.append, clock)
    running = asyncio.ensure_future(requests.run(broken))
    await clock.advance(0.0)
    for _ in range(6):
        for number in range(10):
            requests.take(request(number))
        await clock.advance(1.0)
    running.cancel()
    assert sum(len(measured.batches) for measured in sent) == 6
