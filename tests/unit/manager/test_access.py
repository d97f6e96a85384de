"""Tokens for the JSON API: told once, kept as a hash, void at their end or when removed."""

import hashlib
from typing import Any

import pytest

from stackd.core.model.access import ApiToken, Scope
from stackd.core.model.api import TokenCreateRequest
from stackd.errors import Refused, Unknown
from stackd.manager.access import PREFIX, Access, recognised
from tests.fakes.harness import Harness


def access(on: Harness) -> Access:
    return Access(on.context)


def wanted(**fields: Any) -> TokenCreateRequest:
    base = {"name": "ci", "scopes": (Scope.DEPLOY,), "stacks": ("shop",), "seconds": 60.0}
    return TokenCreateRequest(**{**base, **fields})


async def test_only_the_hash_of_a_token_is_kept() -> None:
    async with Harness() as on:
        made = await access(on).create(wanted(), "root@local")
        assert made.token.startswith(PREFIX)
        assert len(made.token) >= 43 + len(PREFIX)
        secret = made.token.removeprefix(PREFIX).encode()
        assert not any(secret in item.value for item in on.store.keys.values())
        assert made.token not in repr(made)
        [kept] = on.world.all(ApiToken)
        assert kept.hash == hashlib.sha256(made.token.encode()).hexdigest()
        assert recognised(on.tables, made.token, on.now) == kept
        other = await access(on).create(wanted(name="other"), "root@local")
        assert other.token != made.token


@pytest.mark.parametrize("wrong", ["", "stackd_", "{}x", "{} ", "x{}", "\udcff"])
async def test_nothing_but_the_token_is_recognised(wrong: str) -> None:
    async with Harness() as on:
        made = await access(on).create(wanted(), "root@local")
        assert recognised(on.tables, wrong.format(made.token), on.now) is None


async def test_a_token_ends_by_itself_and_by_hand() -> None:
    async with Harness() as on:
        one = access(on)
        made = await one.create(wanted(), "root@local")
        assert recognised(on.tables, made.token, on.now + 59) is not None
        assert recognised(on.tables, made.token, on.now + 60) is None
        assert [row.expired for row in one.list().tokens] == [False]
        await on.advance(60)
        assert [row.expired for row in one.list().tokens] == [True]
        fresh = await one.create(wanted(name="fresh"), "root@local")
        await one.remove("fresh", "ann")
        assert recognised(on.tables, fresh.token, on.now) is None
        told = [(e.kind, e.object, e.principal, e.text) for e in on.events()]
        assert told[0] == ("token.created", "ci", "root@local", "deploy of shop")
        assert told[-1] == ("token.removed", "fresh", "ann", "removed by ann")
        with pytest.raises(Unknown, match="There is no token fresh"):
            await one.remove("fresh", "ann")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "a b"}, "is not a name"),
        ({"scopes": ()}, "grants nothing"),
        ({"stacks": ()}, "needs stacks"),
        ({"stacks": ("Shop",)}, "is not a stack's name"),
        ({"scopes": (Scope.APPROVE,)}, "may declare any stack"),
        ({"seconds": 0.0}, "expires within 366 days"),
        ({"seconds": 1e9}, "expires within 366 days"),
        ({"seconds": float("nan")}, "expires within 366 days"),
    ],
)
async def test_what_grants_nothing_or_too_much_is_refused(
    fields: dict[str, Any], said: str
) -> None:
    async with Harness() as on:
        with pytest.raises(Refused, match=said) as refused:
            await access(on).create(wanted(**fields), "root@local")
        assert refused.value.remedy


async def test_a_name_is_given_once() -> None:
    async with Harness() as on:
        await access(on).create(wanted(), "root@local")
        with pytest.raises(Refused, match="There is a token ci already"):
            await access(on).create(wanted(), "root@local")
