"""`route.retry_on` and `retries`: what a real Envoy asks again, and what it does not."""

import pytest
from aiohttp import ClientSession

from stackd.core.model.stack import Route
from tests.host import ingress
from tests.host.ingress import Lab, entry, http

pytestmark = pytest.mark.host

FAILURES = ("GET /fail", "GET /cut", "HEAD /fail", "POST /fail", "POST /cut", "PUT /fail")
"""An answer of 500; a connection cut after the request was read."""
ONCE = dict.fromkeys(FAILURES, 1)


async def attempts(lab: Lab, route: Route) -> tuple[dict[str, int], set[int]]:
    """Request -> how many tasks were asked; and the answers to twenty POSTs while one of the two
    tasks refuses connections."""
    names = [f"{route.retry_on}{route.retries}{letter}" for letter in "ab"]
    tasks = [await lab.upstream(name, 8001) for name in names]
    table = [
        entry("web", [lab.endpoint(name) for name in names], http(lab.port, 8001), route=route)
    ]
    assert (await lab.proxy.apply(table)).problems == {}
    asked = {}
    answers = set()
    async with ClientSession(f"http://127.0.0.1:{lab.port}") as session:
        for failure in FAILURES:
            method, path = failure.split()
            before = sum(task.seen for task in tasks)
            async with session.request(method, path) as response:
                assert response.status in (500, 503)
            asked[failure] = sum(task.seen for task in tasks) - before
        await tasks[0].kill()
        for _ in range(20):
            async with session.post("/", data=b"once") as response:
                answers.add(response.status)
    return asked, answers


async def test_only_what_retry_on_names_is_asked_again_and_only_so_often() -> None:
    async with ingress.lab() as lab:
        safe = await attempts(lab, Route(retry_on="safe"))
        assert safe == (ONCE, {200})
        for retries in (1, 2):
            repeated = dict.fromkeys(("GET /fail", "GET /cut", "HEAD /fail"), 1 + retries)
            idempotent = await attempts(lab, Route(retry_on="idempotent", retries=retries))
            assert idempotent == ({**ONCE, **repeated}, {200})
        assert await attempts(lab, Route(retry_on="none")) == (ONCE, {200, 503})
        assert await attempts(lab, Route(retries=0)) == (ONCE, {200, 503})
