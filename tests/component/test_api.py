"""The JSON API over real HTTP, with the handlers of the control API behind it."""

import asyncio
import contextlib
import io
import json
import socket
import typing
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession
from jsonschema import Draft202012Validator

from stackd.core.model.access import Scope
from stackd.core.model.api import TokenCreateRequest
from stackd.core.model.ids import RevisionId
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState, ToggleState
from stackd.core.model.source import Repository, RepositoryStatus
from stackd.core.model.strategy import SetWeight, Strategy, StrategyKind
from stackd.core.model.toggle import Toggle
from stackd.errors import Refused, Stale, Unknown
from stackd.manager.access import Access
from stackd.manager.api.deploying import DeployApi
from stackd.manager.api.events import EventApi
from stackd.manager.api.flags import FlagApi
from stackd.manager.api.freezing import FreezeApi
from stackd.manager.api.history import HistoryApi
from stackd.manager.api.repositories import RepositoryApi
from stackd.manager.api.rollouts import RolloutApi
from stackd.manager.api.stacks import StackApi
from stackd.manager.api.status import StatusApi
from stackd.manager.api.tasks import TaskApi
from stackd.manager.api.waiting import WaitingApi
from stackd.manager.contents import Contents
from stackd.manager.deployer import Deployer
from stackd.manager.door import Door
from stackd.manager.loop import Context
from stackd.manager.methods import Handlers, methods
from stackd.manager.repositories import Repositories
from stackd.manager.standing import Standing
from stackd.store.seal import Sealer
from stackd.web import api, http
from stackd.web.openapi import document
from stackd.wire.control import Caller
from tests.component.cluster import until
from tests.component.test_http import Numbers
from tests.fakes.harness import Harness
from tests.fakes.ports import free_port
from tests.fakes.stacks import FakeResolver, digest
from tests.unit.manager.api.cases import running, unmeasured

OTHER = RevisionId("b" * 12)
FILES = {"stack.yml": "services: {web: {image: 'web:1', command: [new]}}"}


TOGGLE = "features: {cart: {rollout: 10%}}"
TOGGLED = {"stack.yml": f"services: {{web: {{image: 'web:1', {TOGGLE}}}}}"}


class Waiting:
    """A source in which one commit waits for approval, in the repository `ops`."""

    def __init__(self) -> None:
        self.approved: list[str] = []

    async def approve(self, name: str, plan: str, by: str) -> str:
        if name != "ops":
            raise Unknown(f"There is no repository {name}.", "See: stackd repo ls")
        if self.approved:
            raise Refused("Nothing waits for approval in ops.", "See: stackd repo ls")
        if plan != "3f2a91bc04de":
            raise Stale(f"Plan {plan} is stale.", "Look at it again.")
        self.approved.append(by)
        return "c" * 40


def handlers(on: Harness) -> Handlers:
    """Those that the API reaches are real; of the others there is only the class."""
    contents = Contents(on.context, Sealer(b"k" * 32))
    resolver = FakeResolver({"web:1": digest("a")})
    deployer = Deployer(on.context, contents, resolver)
    repositories = Repositories(on.tables, None, Sealer(b"k" * 32), on.clock)
    hints = typing.get_type_hints(Handlers)
    bare = {f.name: hints[f.name].__new__(hints[f.name]) for f in fields(Handlers)}
    real: dict[str, Any] = {
        "deploying": DeployApi(on.tables, deployer, typing.cast(Any, None)),
        "events": EventApi(on.tables),
        "flags": FlagApi(on.context),
        "freezing": FreezeApi(on.context),
        "history": HistoryApi(on.tables),
        "repositories": RepositoryApi(repositories, deployer, typing.cast(Any, Waiting())),
        "rollouts": RolloutApi(on.context),
        "stacks": StackApi(on.context, deployer),
        "status": StatusApi(on.tables, on.clock, unmeasured),
        "tasks": TaskApi(on.tables),
        "waiting": WaitingApi(on.tables, on.clock),
    }
    return Handlers(**{**bare, **real})


@dataclass
class Answered:
    status: int
    kind: str
    body: Any
    headers: Mapping[str, str]


class Api:
    """The API of a manager, and a client of it."""

    def __init__(self, on: Harness) -> None:
        self.on = on
        self.standing = Standing(serving=True, methods=methods(handlers(on)))
        self.port = free_port()
        self.token = ""

    async def allow(self, *scopes: Scope, stacks: tuple[str, ...] = ("shop",)) -> None:
        """Use a new token from now on."""
        access = Access(Context(self.on.tables, self.on.clock, self.on.ids))
        name = f"ci{len(access.list().tokens)}"
        request = TokenCreateRequest(name=name, scopes=scopes, stacks=stacks, seconds=1000)
        self.token = (await access.create(request, "root@local")).token
        await self.on.settle()

    async def ask(self, verb: str, path: str, body: object = None, **headers: str) -> Answered:
        given = {"Authorization": f"Bearer {self.token}", **headers} if self.token else headers
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        data = None if body is None else io.BytesIO(raw)
        address = f"http://127.0.0.1:{self.port}{path}"
        async with (
            ClientSession() as session,
            session.request(verb, address, data=data, headers=given) as answer,
        ):
            text = await answer.text()
            kind = answer.content_type
            parsed = json.loads(text) if "json" in kind else text
            return Answered(answer.status, kind, parsed, answer.headers)

    async def get(self, path: str) -> Answered:
        return await self.ask("GET", path)

    async def post(self, path: str, body: object = None) -> Answered:
        return await self.ask("POST", path, body)


@contextlib.asynccontextmanager
async def served(on: Harness) -> AsyncIterator[Api]:
    """The API of a manager that runs shop."""
    found = Api(on)
    await running(on)
    door = Door(found.standing, on.tables, on.clock)
    app = http.application(lambda: (True, {}), Numbers(), api.routes(door))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(http.serve(app, http.Listener("127.0.0.1", found.port)))
        await until(lambda: listens(found.port))
        try:
            yield found
        finally:
            task.cancel()


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


async def rolling(on: Harness) -> None:
    """shop/web on its way to another revision."""
    state = on.world.get(ServiceState, "shop/web")
    assert state is not None
    rollout = Rollout(id="y", target=OTHER, phase=RolloutPhase.PROGRESSING, started=on.now)
    await on.put(msgspec.structs.replace(state, rollout=rollout))


async def staged(on: Harness) -> None:
    """shop/web has a toggle with steps, which is where it is declared to be."""
    release = on.world.release("shop")
    assert release is not None
    part = release.services["web"]
    policy = Strategy(kind=StrategyKind.STAGED, steps=(SetWeight(weight=1000),))
    features = {"cart": Toggle(share=1000)}
    spec = msgspec.structs.replace(part.spec, features=features, stages={"cart": policy})
    services = {**release.services, "web": msgspec.structs.replace(part, spec=spec)}
    at, weights = RevisionId("10%"), ToggleState.reaching(1000)
    state = ToggleState(stack="shop", service="web/cart", stable=at, weights=weights, former=1000)
    await on.put(msgspec.structs.replace(release, services=services), state)


SCHEMAS = json.loads(json.dumps(document()))


def check(path: str, verb: str, answered: Answered) -> None:
    """The answer is as the document says."""
    found = SCHEMAS["paths"][path][verb.lower()]["responses"][str(answered.status)]
    assert answered.kind in found["content"], answered
    schema = {**found["content"][answered.kind]["schema"], "components": SCHEMAS["components"]}
    errors = [e.message for e in Draft202012Validator(schema).iter_errors(answered.body)]
    assert errors == [], (path, errors)


async def test_everything_that_can_be_read_is_as_documented() -> None:
    async with Harness() as on, served(on) as shop:
        await shop.allow(Scope.READ, stacks=("*",))
        await staged(on)
        for path, verbs in SCHEMAS["paths"].items():
            if "get" in verbs:
                place = path.replace("{stack}", "shop").replace("{service}", "web")
                place = place.replace("{feature}", "cart")
                place += "?timeout=0" if path.endswith("wait") else ""
                answered = await shop.get(place)
                assert answered.status == 200, (path, answered)
                check(path, "get", answered)
        whole = await shop.get("/v1/stacks/shop/services/web")
        assert (whole.body["service"], whole.body["phase"]) == ("web", "healthy")
        assert (await shop.get("/v1/stacks/shop/wait?timeout=0")).body["code"] == 4
        done = await shop.get("/v1/stacks/shop/services/web/wait")
        assert (done.body["code"], done.headers["Stackd-Code"]) == (0, "0")
        assert (await shop.get("/v1/events?tail=1")).body[0]["kind"]


async def test_the_document_is_there_without_a_token() -> None:
    async with Harness() as on, served(on) as shop:
        answered = await shop.get("/openapi.json")
        assert (answered.status, answered.body) == (200, SCHEMAS)
        assert (await shop.get("/healthz")).status == 200


@pytest.mark.parametrize("header", ["", "Bearer ", "Bearer nonsense", "Basic YTpi", "Bearer é"])
async def test_no_token_no_answer_also_on_loopback(header: str) -> None:
    async with Harness() as on, served(on) as shop:
        answered = await shop.ask("GET", "/v1/stacks/shop", Authorization=header)
        assert answered.status == 401
        assert answered.headers["WWW-Authenticate"] == "Bearer"
        assert "stackd token create" in answered.body["remedy"]
        check("/v1/stacks/{stack}", "get", answered)


async def test_an_expired_token_is_none() -> None:
    async with Harness() as on, served(on) as shop:
        await shop.allow(Scope.READ)
        assert (await shop.get("/v1/stacks/shop")).status == 200
        await on.advance(1000)
        assert (await shop.get("/v1/stacks/shop")).status == 401


async def test_scopes_and_stacks_are_heeded_for_each_operation() -> None:
    async with Harness() as on, served(on) as shop:
        await shop.allow(Scope.READ)
        refused = await shop.post("/v1/stacks/shop/services/web/abort")
        assert (refused.status, refused.kind) == (403, "application/problem+json")
        assert refused.body["remedy"] == "This needs scope abort."
        check("/v1/stacks/{stack}/services/{service}/abort", "post", refused)
        for path in ("/v1/stacks", "/v1/events", "/v1/rollouts", "/v1/stacks/other"):
            refused = await shop.get(path)
            assert (refused.status, "is not for" in refused.body["detail"]) == (403, True)


async def test_what_a_token_does_is_done_in_its_name() -> None:
    async with Harness() as on, served(on) as shop:
        await shop.allow(Scope.ABORT, Scope.PROMOTE)
        web = "/v1/stacks/shop/services/web"
        nothing = await shop.post(f"{web}/promote", {"full": True})
        assert (nothing.status, nothing.body["title"]) == (409, "It cannot be done as things are.")
        assert "no rollout under way" in nothing.body["detail"]
        await staged(on)
        toggle = await shop.post(f"{web}/features/cart/promote")
        assert (toggle.status, "web/cart has no rollout" in toggle.body["detail"]) == (409, True)
        check("/v1/stacks/{stack}/services/{service}/features/{feature}/promote", "post", toggle)
        assert (await shop.post(f"{web}/features/nosuch/promote")).status == 404
        await rolling(on)
        moving = (await shop.get("/v1/stacks/shop/rollouts")).body
        assert {s["service"]: s["phase"] for s in moving} == {"db": "pending", "web": "progressing"}
        for verb in ("pause", "abort", "promote"):
            other = await shop.post(f"{web}/{verb}", {"revision": "0" * 12})
            assert (other.status, f"-> {OTHER}, " in other.body["detail"]) == (409, True)
            check(f"/v1/stacks/{{stack}}/services/{{service}}/{verb}", "post", other)
        paused = await shop.post(f"{web}/pause", {"revision": OTHER})
        assert paused.body["text"] == "shop/web is paused."
        assert (await shop.post(f"{web}/resume")).status == 200
        aborted = await shop.post(f"{web}/abort", {"revision": OTHER})
        assert aborted.body["text"] == "shop/web goes back."
        check("/v1/stacks/{stack}/services/{service}/abort", "post", aborted)
        again = await shop.post(f"{web}/abort")
        assert (again.status, "going back already" in again.body["detail"]) == (409, True)
        assert on.events("rollout.aborted")[0].principal == "token:ci0"


async def test_a_stack_is_declared_from_files() -> None:
    async with Harness() as on, served(on) as shop:
        await shop.allow(Scope.DEPLOY)
        planned = await shop.post("/v1/stacks/shop/plan", {"files": FILES})
        check("/v1/stacks/{stack}/plan", "post", planned)
        assert planned.body["changed"]
        stale = {"files": FILES, "plan_hash": "0" * 12}
        assert (await shop.post("/v1/stacks/shop/apply", stale)).status == 409
        wanted = {"files": FILES, "plan_hash": planned.body["plan_hash"]}
        applied = await shop.post("/v1/stacks/shop/apply", wanted)
        assert (applied.status, applied.body["release"]) == (200, 2)
        check("/v1/stacks/{stack}/apply", "post", applied)
        assert on.events("release.created")[-1].principal == "token:ci0"
        named = {"files": {"a.yml": f"name: other\n{FILES['stack.yml']}"}}
        assert (await shop.post("/v1/stacks/shop/plan", named)).body["stack"] == "shop"


async def test_stack_files_are_refused_with_every_problem_and_its_place() -> None:
    async with Harness() as on, served(on) as shop:
        await shop.allow(Scope.DEPLOY)
        bad = {"a.yml": "services:\n  web:\n    image: ${WHAT}\n    nonsense: 1\n"}
        answered = await shop.post("/v1/stacks/shop/plan", {"files": bad})
        assert answered.status == 422
        assert [p.partition(" ")[0] for p in answered.body["problems"]] == [
            *("a.yml:3:12:", "a.yml:4:5:"),
        ]
        check("/v1/stacks/{stack}/plan", "post", answered)


async def test_a_plan_is_played_in_virtual_time() -> None:
    async with Harness() as on, served(on) as shop:
        await shop.allow(Scope.DEPLOY)
        before = on.world.revision
        plain = await shop.post("/v1/stacks/shop/plan", {"files": FILES})
        assert plain.body["simulation"] is None
        played = await shop.post("/v1/stacks/shop/plan", {"files": FILES, "simulate": True})
        check("/v1/stacks/{stack}/plan", "post", played)
        found = played.body["simulation"]
        assert found["duration"] > 0
        assert any(step["object"] == "shop/web" for step in found["steps"])
        assert on.world.revision == before
        given = {"files": FILES, "simulate": True}
        assert (await shop.post("/v1/stacks/shop/apply", given)).status == 400


async def test_toggles_are_listed_and_set() -> None:
    async with Harness() as on, served(on) as shop:
        await shop.allow(Scope.DEPLOY)
        assert (await shop.post("/v1/stacks/shop/apply", {"files": TOGGLED})).status == 200
        await shop.allow(Scope.FLAGS)
        place = "/v1/stacks/shop/services/web/flags"
        done = await shop.post(f"{place}/cart", {"share": 2500})
        check("/v1/stacks/{stack}/services/{service}/flags/{feature}", "post", done)
        assert done.body["text"] == "shop/web/cart: 25% instead of the declared 10%."
        for path in ("/v1/stacks/shop/flags", place):
            [row] = (await shop.get(path)).body["flags"]
            assert (row["feature"], row["share"], row["declared"]) == ("cart", 2500, 1000)
        assert row["override"]["by"] == "token:ci1"
        assert (await shop.post(f"{place}/cart", {"share": None})).status == 200
        for share in (-1, 10_001, "5%"):
            assert (await shop.post(f"{place}/cart", {"share": share})).status == 400
        assert (await shop.post(f"{place}/nosuch", {"share": 1})).status == 404
        assert (await shop.post("/v1/stacks/shop/services/web/scale")).status == 403


async def test_who_may_approve_lets_a_commit_go() -> None:
    async with Harness() as on, served(on) as shop:
        repository = Repository(name="ops", url="https://git.example/ops.git", manual=True)
        status = RepositoryStatus(name="ops", waiting="c" * 40, plan="3f2a91bc04de")
        await on.put(repository, status)
        await shop.allow(Scope.DEPLOY, Scope.PROMOTE, stacks=("*",))
        path, plan = "/v1/repositories/ops/approve", {"plan": "3f2a91bc04de"}
        [row] = (await shop.get("/v1/repositories")).body["repositories"]
        assert (row["waiting"], row["plan"]) == ("c" * 40, plan["plan"])
        refused = await shop.post(path, plan)
        assert (refused.status, refused.body["remedy"]) == (403, "This needs scope approve.")
        await shop.allow(Scope.APPROVE, stacks=("*",))
        assert (await shop.post(path, {"plan": "other"})).status == 409
        assert (await shop.post(path)).status == 400
        assert (await shop.post("/v1/repositories/nosuch/approve", plan)).status == 404
        done = await shop.post(path, plan)
        check("/v1/repositories/{repository}/approve", "post", done)
        assert done.body["text"] == "ops: commit cccccccccccc is approved and being deployed."
        assert (await shop.post(path, plan)).status == 409


async def test_freezes_scales_and_their_ends() -> None:
    async with Harness() as on, served(on) as shop:
        await shop.allow(Scope.DEPLOY)
        frozen = await shop.post("/v1/stacks/shop/freeze", {"reason": "fair", "seconds": 60})
        assert frozen.body["text"].startswith("shop is frozen by token:ci0 until ")
        assert (await shop.post("/v1/stacks/shop/services/web/retry")).status == 409
        assert (await shop.post("/v1/stacks/shop/unfreeze")).status == 200
        assert (await shop.post("/v1/freeze", {"reason": "all"})).status == 403
        for odd in ({"seconds": 1e300}, {"until": 1e18}, {"until": 1}, {"reason": "x" * 501}):
            answered = await shop.post("/v1/stacks/shop/freeze", {"reason": "fair", **odd})
            assert (answered.status, answered.body["remedy"] != "") == (409, True), odd
        scaled = await shop.post("/v1/stacks/shop/services/web/scale", {"replicas": 5})
        assert scaled.body["text"] == "shop/web: 5 instead of the declared 2."


async def test_a_time_that_never_comes_is_not_waited_for() -> None:
    async with Harness() as on, served(on) as shop:
        await shop.allow(Scope.READ)
        await rolling(on)
        for timeout in ("nan", "inf", "-inf", "1e400"):
            answered = await shop.get(f"/v1/stacks/shop/services/web/wait?timeout={timeout}")
            assert answered.status == 400
            assert answered.body["detail"]


async def test_what_is_not_there_or_not_documented_is_told_as_a_problem() -> None:
    async with Harness() as on, served(on) as shop:
        await shop.allow(*Scope, stacks=("*",))
        cases = (
            ("GET", "/v1/stacks/nosuch", None, 404),
            ("GET", "/v1/stacks/shop/services/nosuch", None, 404),
            ("GET", "/v1/nosuch", None, 404),
            ("GET", "/v1/stacks/nosuch/wait", None, 404),
            ("GET", "/v1/stacks/nosuch/why", None, 404),
            ("GET", "/v1/stacks/nosuch/flags", None, 404),
            ("GET", "/v1/stacks/shop/services/nosuch/flags", None, 404),
            ("GET", "/v1/stacks/nosuch/history", None, 404),
            ("GET", "/v1/stacks/nosuch/tasks", None, 404),
            ("POST", "/v1/stacks/nosuch/freeze", b'{"reason": "x"}', 404),
            ("POST", "/v1/stacks/nosuch/unfreeze", None, 404),
            ("POST", "/v1/stacks/nosuch/rollback", None, 404),
            ("POST", "/v1/stacks/shop/rollback", b'{"to": "77"}', 404),
            ("POST", "/v1/stacks/shop/rollback", None, 409),
            ("POST", "/v1/stacks/shop/services/nosuch/scale", b'{"replicas": 1}', 404),
            ("POST", "/v1/stacks/nosuch/services/web/scale", b'{"replicas": 1}', 404),
            ("POST", "/v1/stacks/shop/services/web/scale", b'{"replicas": -1}', 409),
            ("POST", "/v1/stacks/shop/services/web/rollback", b'{"to": "nosuch"}', 404),
            *(
                ("POST", f"/v1/stacks/shop/services/nosuch/{verb}", None, 404)
                for verb in ("promote", "resume", "pause", "abort", "retry", "rollback")
            ),
            ("DELETE", "/v1/stacks/shop", None, 405),
            ("GET", "/v1/stacks/shop/wait?timeout=soon", None, 400),
            ("GET", "/v1/stacks/shop?name=other", None, 400),
            ("POST", "/v1/stacks/shop/services/web/abort", b"{", 400),
            ("POST", "/v1/stacks/shop/apply", b"x" * (api.BODY + 1), 413),
        )
        for verb, path, body, status in cases:
            answered = await shop.ask(verb, path, body)
            assert (answered.status, answered.kind) == (status, "application/problem+json"), path
            assert answered.body["status"] == status
            assert answered.body["detail"]
            assert answered.body["remedy"]


async def test_a_manager_that_does_not_lead_says_so() -> None:
    async with Harness() as on, served(on) as shop:
        await shop.allow(Scope.READ)
        shop.standing.methods = {}
        answered = await shop.get("/v1/stacks/shop")
        assert (answered.status, answered.headers["Retry-After"]) == (503, "2")
        check("/v1/stacks/{stack}", "get", answered)


async def test_a_fault_of_ours_is_told_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    async with Harness() as on, served(on) as shop:
        await shop.allow(Scope.READ)

        async def broken(request: object, caller: Caller) -> object:
            raise KeyError("a secret")

        found = shop.standing.methods["Status"]
        shop.standing.methods = {"Status": type(found)(found.request, broken)}
        answered = await shop.get("/v1/stacks/shop")
        assert answered.status == 500
        assert "KeyError" in answered.body["detail"]
        assert "secret" not in json.dumps(answered.body)
        assert "a secret" in caplog.text


async def test_a_wait_ends_with_its_client() -> None:
    async with Harness() as on, served(on) as shop:
        await shop.allow(Scope.READ)
        await rolling(on)
        ended = asyncio.Event()
        waiting = shop.standing.methods["Wait"]

        async def wait(request: Any, caller: Caller) -> AsyncIterator[Any]:
            try:
                async for answer in waiting.handler(request, caller):  # type: ignore[union-attr]
                    yield answer
            finally:
                ended.set()

        shop.standing.methods = {"Wait": type(waiting)(waiting.request, wait)}
        reader, writer = await asyncio.open_connection("127.0.0.1", shop.port)
        head = f"GET /v1/stacks/shop/wait HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {shop.token}"
        writer.write(f"{head}\r\n\r\n".encode())
        await writer.drain()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)
        assert not ended.is_set()
        writer.close()
        await asyncio.wait_for(ended.wait(), 10)
