"""The command line against a manager of fakes: exit codes, documents, errors, hostile text."""

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from stackd.aio.layout import ClusterLayout
from stackd.cli import app
from stackd.core.model.api import (
    ApplyAnswer,
    ApplyRequest,
    Assumed,
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
    PlanLine,
    PlanRequest,
    RepoRows,
    ServiceStatus,
    SimulatedStep,
    SimulationAnswer,
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
from stackd.errors import Refused
from stackd.host import cluster
from stackd.manager.permit import permit
from stackd.wire.control import Caller, ControlServer, Method

pytestmark = pytest.mark.host  # sockets are in /run/stackd
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


@pytest_asyncio.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    """A cluster whose manager answers from fakes."""
    name = "t" + secrets.token_hex(4)
    layout = ClusterLayout(tmp_path, name)
    cluster.write(tmp_path, ClusterFile(id=name))
    one = Manager(tmp_path, layout)
    server = ControlServer(one.methods(), permit)
    try:
        await server.start(layout.control_socket)
        yield one
    finally:
        await server.stop(0)
        shutil.rmtree(layout.run, ignore_errors=True)


class Shell:
    """Runs commands in a thread, as the process would."""

    def __init__(self, data: Path, capture: pytest.CaptureFixture[str]) -> None:
        self._data = data
        self._capture = capture
        self.out = self.err = ""

    async def __call__(self, *words: str) -> int:
        """The exit code; output is in `out` and `err`."""
        self._capture.readouterr()

        def work() -> int:
            try:
                return app.main(["--data", str(self._data), *words])
            except SystemExit as end:
                return end.code if isinstance(end.code, int) else 1

        code = await asyncio.to_thread(work)
        self.out, self.err = self._capture.readouterr()
        assert "Traceback" not in self.err
        return code


@pytest.fixture
def shell(manager: Manager, capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(manager.data, capfd)


@pytest.fixture
def stack_file(tmp_path: Path) -> str:
    path = tmp_path / "shop.stack.yml"
    path.write_text(SPEC)
    return str(path)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("ps",), list),
        (("ls",), list),
        (("repo", "ls"), list),
        (("node", "ls"), list),
        (("history", "shop"), list),
        (("flag", "ls"), list),
        (("flag", "set", "shop/web/cart=on"), dict),
        (("status",), list),
        (("status", "shop"), dict),
        (("status", "shop/web"), dict),
        (("token", "show", "worker"), dict),
        (("version",), dict),
        (("wait", "shop"), dict),
    ],
)
async def test_json_is_one_document(shell: Shell, words: tuple[str, ...], kind: type) -> None:
    assert await shell(*words, "-o", "json") == 0
    assert isinstance(json.loads(shell.out), kind)
    assert "\x1b" not in shell.out


async def test_the_documents_of_status_have_exactly_their_keys(shell: Shell) -> None:
    await shell("status", "shop", "-o", "json")
    keys = {"stack", "release", "commit", "seen_commit", "owner", "phase", "services"}
    stack = json.loads(shell.out)
    assert stack.keys() == keys
    await shell("status", "shop/web", "-o", "json")
    service = json.loads(shell.out)
    assert service.keys() == set(ServiceStatus.__struct_fields__)
    assert stack["services"] == [service]
    assert service["reason"] == f"{SERVICE.reason}; {STACK.frozen[0]}; {STACK.problem}"


async def test_status_says_why_a_newer_commit_does_not_run(shell: Shell, manager: Manager) -> None:
    """A pipe gets the whole sentence."""
    manager.stack = msgspec.structs.replace(STACK, problem="a.yml:1:2: " + "very bad " * 40 + "END")
    assert await shell("status", "shop") == 0
    assert "very bad END\n" in shell.out
    assert not any(line.endswith(" ") for line in shell.out.splitlines())


async def test_what_lasts_is_told_on_standard_error(shell: Shell, stack_file: str) -> None:
    assert await shell("image", "load", "-i", stack_file, "-o", "json") == 0
    assert json.loads(shell.out) == []
    assert re.fullmatch(r"Loading shop\.stack\.yml \(0\.0 MB\) … 1 s\n", shell.err)


async def test_the_document_of_node_ls(shell: Shell) -> None:
    await shell("node", "ls", "-o", "json")
    assert list(json.loads(shell.out)[0]) == [
        *("id", "name", "role", "availability", "state", "address", "tasks")
    ]


async def test_the_document_of_apply(shell: Shell, stack_file: str) -> None:
    assert await shell("apply", "-f", stack_file, "-o", "json") == 0
    assert json.loads(shell.out) == {
        "stack": "shop",
        "release": 3,
        "changed": True,
        "plan_hash": "h",
    }
    assert "a note" in shell.err


async def test_events_are_one_document_a_line(shell: Shell) -> None:
    assert await shell("events", "-o", "json") == 0
    assert [list(json.loads(line)) for line in shell.out.splitlines()] == [
        ["id", "at", "kind", "object", "principal", "cause", "text"]
    ] * 2


@pytest.mark.parametrize("words", [("ps",), ("events",), ("status", "shop")])
async def test_control_characters_are_escaped(shell: Shell, words: tuple[str, ...]) -> None:
    assert await shell(*words) == 0
    assert ESCAPED in shell.out
    assert not set(shell.out) & set("\x1b\x07\x9b\r")


async def test_an_error_is_a_cause_and_what_to_do(shell: Shell) -> None:
    assert await shell("why", "x") == 1
    assert shell.err == f"stackd: There is no {ESCAPED}.\n        See: stackd ls\n"
    assert shell.out == ""


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5])
async def test_wait_ends_with_the_code_it_is_told(
    manager: Manager, shell: Shell, stack_file: str, code: int
) -> None:
    manager.wait = (-1, code)
    assert await shell("wait", "shop", "--timeout", "90s") == code
    assert (shell.out, shell.err) == (f"at {code}\n", "shop: at -1\n")
    asked = manager.asked[-1]
    assert isinstance(asked, WaitRequest)
    assert asked.timeout == 90
    assert await shell("apply", "-f", stack_file, "--wait") == code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("shop", "--release", "1", "--commit", "abc"), "exclude each other"),
        (("shop/web", "--release", "1", "--revision", "abc"), "exclude each other"),
        (("shop", "--revision", "abc"), "a revision is of a service"),
    ],
)
async def test_wait_for_one_thing(
    manager: Manager, shell: Shell, words: tuple[str, ...], said: str
) -> None:
    assert await shell("wait", *words) == 1
    assert said in shell.err
    assert not manager.asked


async def test_apply_asks_for_what_was_named(
    manager: Manager, shell: Shell, stack_file: str
) -> None:
    flags = ("--plan", "abc", "--pull", "--override", "--name", "other")
    assert await shell("apply", "-f", stack_file, *flags) == 0
    asked = manager.asked[0]
    assert isinstance(asked, ApplyRequest)
    assert (asked.plan_hash, asked.pull, asked.override) == ("abc", True, True)
    assert asked.spec.name == "other"
    assert "stackd wait other --release 3" in shell.out


async def test_a_service_that_failed_is_told_with_code_1(
    manager: Manager, shell: Shell, stack_file: str
) -> None:
    manager.failed = ("shop/web: the registry does not answer",)
    assert await shell("apply", "-f", stack_file) == 1
    assert "shop/web: the registry does not answer" in shell.err


async def test_a_bad_file_is_refused_with_its_place(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "bad.yml"
    path.write_text("services:\n  web: {image: a, nosuch: 1}\n")
    for words, code in ((("apply",), 1), (("plan",), 1), (("diff",), 2)):
        assert await shell(*words, "-f", str(path)) == code
        assert f"{path}:2:" in shell.err
    assert await shell("apply", "-f", str(tmp_path / "absent.yml")) == 1
    assert "cannot be read" in shell.err


@pytest.mark.parametrize(
    ("kinds", "code"),
    [((), 0), (("take-over",), 0), (("change-in-place",), 1), (("take-over", "create-service"), 1)],
)
async def test_diff_tells_by_its_code(
    manager: Manager, shell: Shell, stack_file: str, kinds: tuple[str, ...], code: int
) -> None:
    lines = [PlanLine(number=1, kind=k, object="", text="", cause="", effect="") for k in kinds]
    fields = {"diff": "- a\n+ b", "changed": bool(kinds), "changes": tuple(lines)}
    manager.plan = PlanAnswer(**{**_fields(manager.plan), **fields})
    assert await shell("diff", "-f", stack_file) == code
    assert ("+ b" in shell.out) is (code == 1)


async def test_an_image_that_is_not_found_is_no_likeness(
    manager: Manager, shell: Shell, stack_file: str
) -> None:
    """The service stays as it is, so nothing differs: that is an error all the same."""
    manager.plan = PlanAnswer(**{**_fields(manager.plan), "failed": ("shop/web: no such image",)})
    for verb, code in (("plan", 1), ("diff", 2)):
        assert await shell(verb, "-f", stack_file) == code
        assert shell.err == "shop/web: no such image\n"


async def test_an_infeasible_plan_is_1(manager: Manager, shell: Shell, stack_file: str) -> None:
    fields = {**_fields(manager.plan), "changed": True, "infeasible": ("no room",)}
    manager.plan = PlanAnswer(**fields)
    assert await shell("plan", "-f", stack_file) == 1
    assert "! no room" in shell.out


async def test_a_plan_is_kept_in_a_file(shell: Shell, stack_file: str, tmp_path: Path) -> None:
    kept = tmp_path / "plan.json"
    assert await shell("plan", "-f", stack_file, "--out", str(kept), "-o", "json") == 0
    assert json.loads(kept.read_text()) == json.loads(shell.out)
    assert json.loads(kept.read_text())["plan_hash"] == "h"
    assert await shell("plan", "-f", stack_file, "--out", str(tmp_path / "no" / "folder")) == 1
    assert "No such file or directory" in shell.err


async def test_a_played_plan_that_ends_badly_is_1(
    manager: Manager, shell: Shell, stack_file: str
) -> None:
    assumed = Assumed(start_seconds={}, measured=(), stop_seconds=1)
    played = SimulationAnswer(
        steps=(SimulatedStep(at=120, object="shop/web", text="failed: no room"),),
        duration=120,
        cleared=121,
        people=0,
        peaks=(),
        blocked=(),
        assumed=assumed,
    )
    fields = {**_fields(manager.plan), "changed": True}
    for blocked, code in (((), 0), (("shop/web is degraded",), 1)):
        answer = msgspec.structs.replace(played, blocked=blocked)
        manager.plan = PlanAnswer(**{**fields, "simulation": answer})
        assert await shell("plan", "--simulate", "-f", stack_file) == code
        assert "2m  shop/web  failed: no room" in shell.out
        assert ("! shop/web is degraded" in shell.out) is bool(code)
    asked = [found for found in manager.asked if isinstance(found, PlanRequest)]
    assert all(found.simulate and found.spec is not None for found in asked)


@pytest.mark.parametrize("setting", ["shop/web", "shop/web=", "shop/web=-1", "shop/web=²"])
async def test_what_is_no_number_of_tasks_is_refused(shell: Shell, setting: str) -> None:
    assert await shell("scale", setting) == 1
    assert "is not STACK/SERVICE=N" in shell.err


@pytest.mark.parametrize(
    ("share", "sent"),
    [("25%", 2_500), ("0.5%", 50), ("on", 10_000), ("off", 0), ("declared", None)],
)
async def test_a_toggle_is_set(
    manager: Manager, shell: Shell, share: str, sent: int | None
) -> None:
    assert await shell("flag", "set", f"shop/web/cart={share}") == 0
    assert manager.asked == [FlagRequest(name="shop/web/cart", share=sent)]


@pytest.mark.parametrize("setting", ["cart=on", "shop/web/cart", "shop/web/cart=101%", "a/b/c=1"])
async def test_what_is_no_toggle_is_refused(manager: Manager, shell: Shell, setting: str) -> None:
    assert await shell("flag", "set", setting) == 1
    assert manager.asked == []


async def test_toggles_are_listed(shell: Shell) -> None:
    assert await shell("flag", "ls", "shop") == 0
    assert "shop/web/cart  25%" in shell.out
    assert "plan is pro: 100%" in shell.out
    assert ESCAPED in shell.out


def _fields(plan: PlanAnswer) -> dict[str, Any]:
    return {key: getattr(plan, key) for key in plan.__struct_fields__}


@pytest.mark.parametrize("code", [0, 7, 126, 127])
async def test_exec_gives_the_commands_code(manager: Manager, shell: Shell, code: int) -> None:
    manager.exec_code = code
    assert await shell("exec", "--no-tty", "shop/web.1", "--", "cmd", "-x") == code
    assert (shell.out, shell.err) == ("out\n", "err\n")


async def test_exec_has_125_for_its_own_errors(shell: Shell) -> None:
    assert await shell("exec", "--no-tty", "nosuch", "--", "cmd") == 125
    assert "There is no task nosuch" in shell.err
    assert await shell("exec", "shop/web.1") == 1


async def test_a_stale_socket_and_none(manager: Manager, shell: Shell, tmp_path: Path) -> None:
    manager.layout.control_socket.unlink()
    assert await shell("ps") == 1
    assert "is not running" in shell.err
    assert "stackd up" in shell.err
    manager.layout.control_socket.touch()
    assert await shell("ps") == 1
    assert "is not running" in shell.err
    assert len(shell.err.splitlines()) == 2


async def test_a_folder_without_a_cluster(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shell = Shell(tmp_path, capfd)
    assert await shell("ps") == 1
    assert f"There is no cluster in {tmp_path}" in shell.err
    (tmp_path / "cluster.json").write_text("{")
    assert await shell("ps") == 1
    assert "is damaged" in shell.err


async def test_remote_clusters_are_not_supported_yet(shell: Shell) -> None:
    assert await shell("--context", "prod", "ps") == 1
    assert "not supported yet" in shell.err


@pytest.mark.parametrize("words", [("approve", "ops", "x"), ("image", "push", "a"), ("ca", "show")])
async def test_planned_verbs_say_so(shell: Shell, words: tuple[str, ...]) -> None:
    assert await shell(*words) == 1
    assert "is not supported yet" in shell.err


def process(manager: Manager, *words: str, **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "stackd", "--data", str(manager.data), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        **options,
    )


async def test_the_manager_dies_in_the_middle_of_a_call(
    manager: Manager, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name = "t" + secrets.token_hex(4)
    layout = ClusterLayout(tmp_path / "other", name)
    layout.data.mkdir()
    cluster.write(layout.data, ClusterFile(id=name))
    one = Manager(layout.data, layout)
    server = ControlServer(one.methods(), permit)
    try:
        await server.start(layout.control_socket)
        shell = Shell(layout.data, capfd)
        running = asyncio.ensure_future(shell("scale", "shop/web=3"))
        await one.hang.wait()
        await server.stop(0)
        assert await running == 1
        assert shell.err.startswith("stackd: The manager has gone before it answered.")
        assert "It may have been done" in shell.err
    finally:
        await server.stop(0)
        shutil.rmtree(layout.run, ignore_errors=True)


async def test_an_interrupt_is_130_and_quiet(manager: Manager) -> None:
    with process(manager, "scale", "shop/web=3") as command:
        await manager.hang.wait()
        command.send_signal(signal.SIGINT)
        _, err = await asyncio.to_thread(command.communicate)
    assert (command.returncode, err) == (130, "")


async def test_a_reader_that_goes_away_is_no_error(manager: Manager) -> None:
    with process(manager, "events") as command:
        assert command.stdout is not None
        command.stdout.close()
        assert command.stderr is not None
        err = await asyncio.to_thread(command.stderr.read)
        await asyncio.to_thread(command.wait)
    assert (command.returncode, err) == (1, "")
