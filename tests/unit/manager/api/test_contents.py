"""`secret|config create|ls|inspect|rm`: names, versions, and values that are never answered."""

import msgspec
import pytest

from stackd.core.model.api import ContentRequest, ContentRow
from stackd.core.model.stack import ContentSpec, Route
from stackd.errors import Refused
from stackd.manager.api.contents import ContentApi
from stackd.manager.contents import Contents
from stackd.store.seal import Sealer
from tests.fakes.harness import Harness
from tests.fakes.stacks import service, stack
from tests.unit.manager.api.cases import CALLER, declared

VALUE = b"hunter2"


def api(on: Harness) -> ContentApi:
    contents = Contents(on.context, Sealer(b"k" * 32))
    return ContentApi(on.tables, contents)


async def made(on: Harness, kind: str, value: bytes = VALUE) -> str:
    """Create a version; its id."""
    request = ContentRequest(kind=kind, name="key", value=value)
    answer = await api(on).create(request, CALLER)
    await on.settle()
    head, _, version = answer.text.rpartition(" ")
    assert head == f"{kind} key: version"
    return version


async def shown(on: Harness, kind: str) -> ContentRow:
    [row] = (await api(on).inspect(ContentRequest(kind=kind, name="key", show=True), CALLER)).items
    return row


@pytest.mark.parametrize(("kind", "value"), [("config", "hunter2"), ("secret", None)])
async def test_only_a_configs_value_is_shown(kind: str, value: str | None) -> None:
    async with Harness() as on:
        version = await made(on, kind)
        row = await shown(on, kind)
        assert (row.version, row.versions, row.size, row.value) == (version, (version,), 7, value)
        [listed] = (await api(on).list(ContentRequest(kind=kind), CALLER)).items
        assert msgspec.structs.replace(row, value=None) == listed
        assert all(VALUE.decode() not in event.text for event in on.events())


async def test_versions_are_told_newest_first_and_revoked_ones_as_such() -> None:
    async with Harness() as on:
        first = await made(on, "secret")
        await on.advance(1)
        second = await made(on, "secret", b"other")
        request = ContentRequest(kind="secret", name="key", version=first)
        assert first in (await api(on).remove(request, CALLER)).text
        await on.settle()
        assert (await shown(on, "secret")).versions == (second, f"{first} revoked")


async def test_kinds_are_apart() -> None:
    async with Harness() as on:
        await made(on, "secret")
        assert (await api(on).list(ContentRequest(kind="config"), CALLER)).items == ()
        with pytest.raises(Refused, match="no config key"):
            await shown(on, "config")


async def test_what_nobody_is_granted_can_go() -> None:
    async with Harness() as on:
        await made(on, "secret")
        own = {"own": ContentSpec(name="key", external=True)}
        await declared(on, stack(service(), secrets=own))
        assert (await shown(on, "secret")).used_by == ()  # declared, but granted to nobody
        await api(on).remove(ContentRequest(kind="secret", name="key"), CALLER)
        await on.settle()
        assert (await api(on).list(ContentRequest(kind="secret"), CALLER)).items == ()


async def test_the_certificate_of_a_route_is_in_use() -> None:
    async with Harness() as on:
        await made(on, "secret")
        own = {"own": ContentSpec(name="key", external=True)}
        await declared(on, stack(service(route=Route(tls="own")), secrets=own))
        assert (await shown(on, "secret")).used_by == ("shop/web",)
        with pytest.raises(Refused, match="is used by shop/web"):
            await api(on).remove(ContentRequest(kind="secret", name="key"), CALLER)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "-x", "x" * 64, "a\n"])
async def test_names_that_are_none_are_refused(name: str) -> None:
    async with Harness() as on:
        with pytest.raises(Refused, match="is not a name"):
            await api(on).create(ContentRequest(kind="config", name=name), CALLER)
        assert on.store.revision == 0
