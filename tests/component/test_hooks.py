"""Webhooks over real HTTP: who knows the secret makes the manager look, and nobody else does."""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from prometheus_client.registry import Collector

from stackd.aio.clock import ManualClock, SystemClock
from stackd.core.model.api import RepoAddRequest
from stackd.core.model.event import Event
from stackd.core.model.source import Repository
from stackd.manager.hooks import HookReceiver
from stackd.manager.loop import Context
from stackd.manager.repositories import Repositories
from stackd.store.seal import Sealer
from stackd.store.tables import Tables
from stackd.web import hooks, http
from tests.fakes.harness import counted_ids
from tests.fakes.ports import free_port
from tests.fakes.store import FakeStore

SECRET = b"0123456789abcdef"
BODY = b'{"ref": "refs/heads/other", "repository": {"clone_url": "https://evil.example/x"}}'


class Nothing(Collector):
    def collect(self) -> list[object]:  # type: ignore[override]
        return []


@dataclass
class Rig:
    """A manager's HTTP port with the repositories `ops` (a webhook) and `plain` (none)."""

    tables: Tables
    clock: ManualClock
    port: int = field(default_factory=free_port)
    looked: list[str] = field(default_factory=list)
    receiver: HookReceiver | None = None

    async def call(
        self, name: str, headers: Mapping[str, str], body: bytes = BODY
    ) -> tuple[int, Mapping[str, str]]:
        address = f"http://127.0.0.1:{self.port}/hooks/{name}"
        async with ClientSession() as session:
            async with session.post(address, data=body, headers=headers) as answer:
                await answer.read()
                return answer.status, answer.headers

    @property
    def refusals(self) -> list[Event]:
        found = self.tables.world.all(Event)
        return [event for event in found if event.kind == "webhook.refused"]


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    clock = ManualClock()
    tables = Tables(FakeStore(SystemClock()), SystemClock())
    made = Rig(tables, clock)
    await tables.open()
    repositories = Repositories(tables, None, Sealer(b"k" * 32), clock)
    made.receiver = HookReceiver(
        Context(tables, clock, counted_ids()), repositories, made.looked.append
    )
    app = http.application(
        lambda: (True, {}), Nothing(), (hooks.Hooks(lambda: made.receiver, clock).route(),)
    )
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(tables.run()),
            group.create_task(http.serve(app, http.Listener("127.0.0.1", made.port))),
        ]
        for name, secret in (("ops", SECRET), ("plain", b"")):
            request = RepoAddRequest(
                name=name, url="https://git.example/x.git", webhook_secret=secret
            )
            await repositories.add(request, "root", local_allowed=False)
        await listening(made.port)
        yield made
        for task in tasks:
            task.cancel()


async def listening(port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.01)


def signed(body: bytes = BODY, secret: bytes = SECRET) -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Hub-Signature-256": f"sha256={signed()}"},
        {"X-Gitea-Signature": signed(), "X-Hub-Signature-256": f"sha256={signed()}"},
        {"X-Gitea-Signature": signed()},
        {"X-Gitlab-Token": SECRET.decode()},
    ],
    ids=["github", "gitea", "gitea-old", "gitlab"],
)
async def test_a_good_call_makes_the_manager_look_whatever_it_says(
    rig: Rig, headers: dict[str, str]
) -> None:
    assert (await rig.call("ops", headers))[0] == 202
    assert rig.looked == ["ops"]
    assert rig.refusals == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": f"sha256={signed(secret=b'another')}"},
        {"X-Hub-Signature-256": f"sha256={signed(b'another body')}"},
        {"X-Hub-Signature": f"sha1={hmac.new(SECRET, BODY, hashlib.sha1).hexdigest()}"},
        {"X-Hub-Signature-256": ""},
        {"X-Gitea-Signature": "\u00e4" * 64},
        {"X-Gitlab-Token": ""},
        {"X-Gitlab-Token": "0123456789abcdeF"},
    ],
)
async def test_a_bad_call_is_turned_away_and_noted(rig: Rig, headers: dict[str, str]) -> None:
    assert (await rig.call("ops", headers))[0] == 401
    assert rig.looked == []
    [event] = rig.refusals
    assert (event.object, event.principal) == ("ops", "webhook")
    assert "from 127.0.0.1" in event.text


@pytest.mark.parametrize("name", ["plain", "nowhere", "..%2Fops"])
async def test_names_without_a_webhook_look_like_wrong_secrets(rig: Rig, name: str) -> None:
    empty = {"X-Hub-Signature-256": f"sha256={signed(secret=b'')}", "X-Gitlab-Token": ""}
    status, _ = await rig.call(name, empty)
    assert status in (401, 404)
    assert (rig.looked, rig.refusals) == ([], [])


async def test_calls_are_limited_and_bad_ones_do_not_stop_good_ones(rig: Rig) -> None:
    token = {"X-Gitlab-Token": SECRET.decode()}
    bad = [(await rig.call("ops", {}))[0] for _ in range(8)]
    assert bad == [401] * 5 + [429] * 3
    assert len(rig.refusals) == 5
    good = [(await rig.call("ops", token))[0] for _ in range(22)]
    assert good == [202] * 20 + [429] * 2
    status, headers = await rig.call("ops", token)
    assert (status, headers["Retry-After"]) == (429, "1")
    await rig.clock.advance(1.5)
    assert (await rig.call("ops", token))[0] == 202


async def test_a_long_body_is_refused_without_being_kept(rig: Rig) -> None:
    part = b"x" * 65536

    async def body() -> AsyncIterator[bytes]:
        for _ in range(hooks.MOST // len(part) + 1):
            yield part

    address = f"http://127.0.0.1:{rig.port}/hooks/ops"
    async with ClientSession() as session:
        async with session.post(address, data=body()) as answer:
            assert answer.status == 413
    assert (rig.looked, rig.refusals) == ([], [])


async def test_a_manager_that_does_not_lead_says_so(rig: Rig) -> None:
    rig.receiver = None
    assert (await rig.call("ops", {"X-Gitlab-Token": SECRET.decode()}))[0] == 503


async def test_only_posts_are_taken(rig: Rig) -> None:
    async with ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{rig.port}/hooks/ops") as answer:
            assert answer.status == 405


async def test_the_secret_is_sealed_in_the_store(rig: Rig) -> None:
    found = rig.tables.world.get(Repository, "ops")
    assert found is not None
    assert found.webhook
    assert found.credential
    assert SECRET not in found.credential
    assert rig.receiver is not None
    assert rig.receiver.secret("ops") == SECRET
