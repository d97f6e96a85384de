"""Join tokens: made once, sealed, rotated."""

import pytest

from stackd.core.model.node import Role
from stackd.errors import Refused
from stackd.manager.tokens import Tokens
from stackd.pki import token
from stackd.store.seal import Sealer
from tests.fakes.harness import Harness

PRINT = "ab" * 32


async def tokens(on: Harness) -> Tokens:
    made = Tokens(on.context, Sealer(b"k" * 32), PRINT)
    await made.prepare()
    return made


async def test_a_token_grants_its_role_and_names_the_cluster() -> None:
    async with Harness() as on:
        one = await tokens(on)
        for role in Role:
            assert one.role_of(one.show(role)) is role
            assert token.parse(one.show(role)).fingerprint == PRINT


async def test_they_are_made_once_and_kept_sealed() -> None:
    async with Harness() as on:
        shown = (await tokens(on)).show(Role.WORKER)
        assert (await tokens(on)).show(Role.WORKER) == shown
        secret = token.parse(shown).secret.encode()
        assert not any(secret in item.value for item in on.store.keys.values())


@pytest.mark.parametrize("role", list(Role))
async def test_rotation_voids_only_the_old_token_of_its_role(role: Role) -> None:
    async with Harness() as on:
        one = await tokens(on)
        before = {r: one.show(r) for r in Role}
        fresh = await one.rotate(role)
        assert one.role_of(fresh) is role
        with pytest.raises(Refused):
            one.role_of(before[role])
        for other in set(Role) - {role}:
            assert one.role_of(before[other]) is other
