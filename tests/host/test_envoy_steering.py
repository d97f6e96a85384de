"""Matches, mirroring, sticky users and previews, against a real Envoy."""

import asyncio
from collections.abc import Mapping

import pytest
from aiohttp import ClientSession

from stackd.core.model.ids import RevisionId
from stackd.core.model.strategy import Matcher, Preview
from stackd.core.model.traffic import Endpoint, Steering
from tests.host import ingress
from tests.host.ingress import Lab, entry, http

pytestmark = pytest.mark.host

R1, R2 = RevisionId("r1"), RevisionId("r2")
COOKIE = "stackd-shop-web"


async def two_revisions(lab: Lab) -> list[Endpoint]:
    await lab.upstream("a", 8001)
    await lab.upstream("b", 8001)
    return [lab.endpoint("a", "r1"), lab.endpoint("b", "r2")]


async def steer(
    lab: Lab, both: list[Endpoint], steering: Steering, weights: Mapping[str, int]
) -> None:
    table = [entry("web", both, http(lab.port, 8001), steering=steering, weights=weights)]
    assert (await lab.proxy.apply(table)).problems == {}


async def who(lab: Lab, host: str = "", **headers: str) -> str:
    code, text = await ingress.status(lab.port, "/", host, **headers)
    assert code == 200
    return text.split()[0]


async def test_headers_and_cookies_in_any_place_choose_the_revision() -> None:
    async with ingress.lab() as lab:
        both = await two_revisions(lab)
        matches = (Matcher(header="X-Group", exact="b"), Matcher(cookie="group", exact="b"))
        await steer(lab, both, Steering(matches=matches, matched=R2), {"r1": 10000, "r2": 0})
        assert await who(lab) == "a"
        assert await who(lab, **{"x-group": "b"}) == "b"
        assert await who(lab, **{"x-group": "bb"}) == "a"
        answers = {
            cookie: await who(lab, cookie=cookie)
            for cookie in (
                *("group=b", "group=b; x=1", "x=1; group=b; y=2", "x=1;group=b", "x=1; group=b"),
                *("group=bb", "xgroup=b", "x=group=b", "group=a", "group="),
            )
        }
        assert list(answers.values()) == ["b"] * 5 + ["a"] * 5
        gone = [both[0], lab.endpoint("b", "r2", ready=False)]
        await steer(lab, gone, Steering(matches=matches, matched=R2), {"r1": 10000})
        assert await who(lab, **{"x-group": "b"}) == "a"


async def test_a_share_is_mirrored_marked_and_its_answers_are_thrown_away() -> None:
    async with ingress.lab() as lab:
        both = await two_revisions(lab)
        await steer(lab, both, Steering(mirror=2500, mirrored=R2), {"r1": 10000, "r2": 0})
        a, b = lab.upstreams["a"], lab.upstreams["b"]
        async with ClientSession() as session:
            for _ in range(1000):
                forged = {"x-stackd-shadow": "1"}
                url = f"http://127.0.0.1:{lab.port}/"
                async with session.post(url, data=b"x" * 500, headers=forged) as response:
                    assert await response.text() == "a 500"
        await asyncio.sleep(0.2)
        assert a.seen == 1000
        assert 180 <= b.seen <= 320
        marked = [{k.lower(): v for k, v in found.items()} for found in b.headers]
        assert {found["x-stackd-shadow"] for found in marked} == {"r2"}
        assert {found["host"] for found in marked} == {f"127.0.0.1:{lab.port}"}
        assert {len(found["x-forwarded-for"].split(",")) for found in marked} <= {1, 2}
        plain = [k.lower() for found in a.headers for k in found]
        assert "x-stackd-shadow" not in plain
        await b.kill()
        for _ in range(20):
            assert await who(lab) == "a"


async def test_users_stay_and_growth_moves_nobody_back() -> None:
    async with ingress.lab() as lab:
        both = await two_revisions(lab)
        users: list[tuple[str, str]] = []
        counts = []
        for share in (2000, 2000, 3000, 6000):
            steering = Steering(sticky=True, order=(R2, R1))
            await steer(lab, both, steering, {"r1": 10000 - share, "r2": share})
            async with ClientSession() as session:
                if not users:
                    users = [await _visit(session, lab, "") for _ in range(400)]
                again = [await _visit(session, lab, cookie) for cookie, _ in users]
            left = [1 for (_, was), (_, now) in zip(users, again, strict=True) if was > now]
            assert left == [], f"{len(left)} users went back at {share}"
            if share == 2000:
                assert [now for _, now in again] == [was for _, was in users]
            users = [(cookie, now) for (cookie, _), (_, now) in zip(users, again, strict=True)]
            counts.append(sum(now == "b" for _, now in users))
        assert 45 <= counts[0] == counts[1] <= 120
        assert counts[1] < counts[2] < counts[3]
        assert 190 <= counts[3] <= 290


async def _visit(session: ClientSession, lab: Lab, cookie: str) -> tuple[str, str]:
    """(the user's cookie, who answered)."""
    headers = {"cookie": f"x=1; {COOKIE}={cookie}"} if cookie else {}
    async with session.get(f"http://127.0.0.1:{lab.port}/", headers=headers) as response:
        text = await response.text()
        given = response.cookies.get(COOKIE)
        session.cookie_jar.clear()
        assert (given is None) == bool(cookie)
        return (given.value if given else cookie), text.split()[0]


async def test_a_preview_has_its_port_or_its_host() -> None:
    async with ingress.lab() as lab:
        both = await two_revisions(lab)
        weights = {"r1": 10000, "r2": 0}
        preview = Steering(preview=Preview(published=lab.other_port), previewed=R2)
        await steer(lab, both, preview, weights)
        assert await who(lab) == "a"
        assert await ingress.status(lab.other_port, host="any.test") == (200, "b 0")
        preview = Steering(preview=Preview(host="green.test"), previewed=R2)
        await steer(lab, both, preview, weights)
        assert (await ingress.status(lab.other_port))[0] == 0
        assert await who(lab, "green.test") == "b"
        assert await who(lab, "blue.test") == "a"
