"""The manager of fakes that the tests beside this file run commands against."""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from stackd.aio.layout import ClusterLayout
from stackd.core.model.api import (
    ApplyAnswer,
    ApplyRequest,
    EventRow,
    EventsRequest,
    ExecFrame,
    FlagRequest,
    FlagRow,
    FlagRows,
    HistoryRow,
    HistoryRows,
    ImageRequest,
    ImageRows,
    NameRequest,
    NodeRow,
    NodeRows,
    PlanAnswer,
    PlanRequest,
    RepoRows,
    RolloutAnswer,
    RolloutRequest,
    ServiceStatus,
    StackRows,
    StackStatus,
    StatusAnswer,
    TaskRow,
    TaskRows,
    Text,
    TokenRequest,
    WaitAnswer,
    WaitRequest,
)
from stackd.core.model.cluster import ClusterFile
from stackd.errors import Refused, Stale
from stackd.host import cluster
from stackd.manager.permit import permit
from stackd.wire.control import Caller, ControlServer, Method

HOSTILE = "\x1b[31mred\x07\x9b\r"
ESCAPED = "\\x1b[31mred\\x07\\x9b\\x0d"
SPEC = "services: {web: {image: 'web:1'}}\n"
SERVICE = ServiceStatus(
    stack="shop",
    service="web",
    phase="healthy",
    reason=HOSTILE,
    strategy="rolling",
    step=0,
    steps=(),
    weights={},
    revisions=(),
    release=1,
    commit="",
    owner="cli",
    hold=(),
    override=None,
)
STACK = StackStatus(
    stack="shop",
    release=1,
    commit="",
    seen_commit="d" * 40,
    owner="cli",
    phase="healthy",
    services=(SERVICE,),
    frozen=("frozen by ann: the fair",),
    problem="a.yml:1:2: bad",
)
TASK = TaskRow(
    id="0" * 12,
    stack="shop",
    service="web",
    slot=1,
    revision="a" * 12,
    node="node1",
    state="running",
    desired_state="running",
    health="none",
    in_flight=0,
    addresses={},
    image="web:1",
    error=HOSTILE,
    since="2023-11-14T22:13:20Z",
)
NODE = NodeRow(
    id="n",
    name="node1",
    role="worker",
    availability="active",
    state="ready",
    address="192.0.2.1",
    tasks=1,
)
EVENT = EventRow(
    id="e1", at="2023", kind="a.b", object="shop", principal="p", cause="", text=HOSTILE
)
FLAG = FlagRow(
    stack="shop",
    service="web",
    feature="cart",
    share=2_500,
    declared=1_000,
    value=True,
    otherwise=False,
    rules=("plan is pro: 100%",),
    override={"share": 2_500, "by": HOSTILE, "at": "2023"},
    since="2023",
    asked="",
    stale=False,
)
RELEASE = HistoryRow(release=1, commit="", at="2023", by="p", state="current", services={})

SAME = PlanAnswer(
    stack="shop",
    release=1,
    changed=False,
    plan_hash="h",
    changes=(),
    infeasible=(),
    notes=(),
    diff="",
)


@dataclass
class Manager:
    """What the fake handlers answer, and what they were asked."""

    data: Path
    layout: ClusterLayout
    wait: tuple[int, ...] = (-1, 0)
    plan: PlanAnswer = SAME
    failed: tuple[str, ...] = ()
    exec_code: int = 7
    stack: StackStatus = STACK
    hang: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[object] = field(default_factory=list)

    def methods(self) -> dict[str, Method]:
        return {
            "Apply": Method(ApplyRequest, self._apply),
            "Plan": Method(PlanRequest, self._answering(self.plan)),
            "Ps": Method(NameRequest, self._answering(TaskRows(tasks=(TASK,)))),
            "Status": Method(NameRequest, self._status),
            "List": Method(NameRequest, self._answering(StackRows(stacks=()))),
            "RepoList": Method(NameRequest, self._answering(RepoRows(repositories=()))),
            "NodeList": Method(NameRequest, self._answering(NodeRows(nodes=(NODE,)))),
            "History": Method(NameRequest, self._answering(HistoryRows(releases=(RELEASE,)))),
            "Why": Method(NameRequest, self._refuse),
            "TokenShow": Method(TokenRequest, self._answering(Text(text="STACKD-1-abc"))),
            "Scale": Method(NameRequest, self._hang),
            "ImageLoad": Method(ImageRequest, self._load),
            "Wait": Method(WaitRequest, self._wait),
            "Events": Method(EventsRequest, self._events),
            "Exec": Method(ExecFrame, self._exec),
            "FlagList": Method(NameRequest, self._answering(FlagRows(flags=(FLAG,)))),
            "Promote": Method(RolloutRequest, self._moved_on),
            "Retry": Method(RolloutRequest, self._answering(RolloutAnswer(text="done"))),
            "FlagSet": Method(FlagRequest, self._answering(Text(text="done"))),
        }

    def _answering(self, answer: object) -> Any:
        async def handler(request: object, caller: Caller) -> object:
            self.asked.append(request)
            return self.plan if isinstance(request, PlanRequest) else answer

        return handler

    async def _apply(self, request: ApplyRequest, caller: Caller) -> ApplyAnswer:
        self.asked.append(request)
        return ApplyAnswer(
            stack=request.spec.name,
            release=3,
            changed=True,
            plan_hash="h",
            notes=("a note",),
            failed=self.failed,
        )

    async def _status(self, request: NameRequest, caller: Caller) -> StatusAnswer:
        return StatusAnswer(stacks=(self.stack,), service=request.name.partition("/")[2])

    async def _refuse(self, request: NameRequest, caller: Caller) -> Text:
        raise Refused(f"There is no {HOSTILE}.", "See: stackd ls")

    async def _moved_on(self, request: RolloutRequest, caller: Caller) -> RolloutAnswer:
        self.asked.append(request)
        if request.revision:
            raise Stale("shop/web has no rollout to it any more.", "Look again, then decide.")
        return RolloutAnswer(text="shop/web goes on.")

    async def _hang(self, request: NameRequest, caller: Caller) -> Text:
        self.hang.set()
        await asyncio.Event().wait()
        return Text(text="")

    async def _load(self, request: ImageRequest, caller: Caller) -> ImageRows:
        await asyncio.sleep(1.3)  # what lasts is told after a second
        return ImageRows(images=())

    async def _wait(self, request: WaitRequest, caller: Caller) -> AsyncIterator[WaitAnswer]:
        self.asked.append(request)
        for code in self.wait:
            yield WaitAnswer(code=code, text=f"at {code}")

    async def _events(self, request: EventsRequest, caller: Caller) -> AsyncIterator[EventRow]:
        yield EVENT
        yield msgspec.structs.replace(EVENT, id="e2")

    async def _exec(
        self, frames: AsyncIterator[ExecFrame], caller: Caller
    ) -> AsyncIterator[ExecFrame]:
        first = await anext(frames)
        if first.task == "nosuch":
            raise Refused("There is no task nosuch.", "See: stackd ps")
        yield ExecFrame(stream=1, data=b"out\n")
        yield ExecFrame(stream=2, data=b"err\n")
        yield ExecFrame(code=self.exec_code)


@asynccontextmanager
async def serving(data: Path) -> AsyncIterator[tuple[Manager, ControlServer]]:
    """A cluster in the folder `data` whose manager answers from fakes."""
    name = "t" + secrets.token_hex(4)
    layout = ClusterLayout(data, name)
    cluster.write(data, ClusterFile(id=name))
    one = Manager(data, layout)
    server = ControlServer(one.methods(), permit)
    try:
        await server.start(layout.control_socket)
        yield one, server
    finally:
        await server.stop(0)
        shutil.rmtree(layout.run, ignore_errors=True)
