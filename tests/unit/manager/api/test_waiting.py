"""`why` and `wait`: what is in the way, and when a waiter is let go."""

import asyncio

import msgspec
import pytest

from stackd.core.model.api import NameRequest, WaitAnswer, WaitRequest, WhyAnswer
from stackd.core.model.event import Event
from stackd.core.model.ids import NodeId, RevisionId
from stackd.core.model.node import NodeReport
from stackd.core.model.record import Changes, Delete, ref
from stackd.core.model.release import Hold, Stack
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.states import TaskState
from stackd.errors import Refused
from stackd.manager.api.waiting import WaitingApi
from tests.fakes.harness import Harness
from tests.fakes.stacks import NOW, head, service, stack, task
from tests.unit.manager.api.cases import CALLER, collected, declared, running

OTHER, THIRD = RevisionId("b" * 12), RevisionId("c" * 12)


async def why(on: Harness, name: str) -> WhyAnswer:
    return await WaitingApi(on.tables, on.clock).why(NameRequest(name=name), CALLER)


async def waited(on: Harness, name: str, **wanted: object) -> list[WaitAnswer]:
    request = msgspec.convert({"name": name, **wanted}, WaitRequest)
    return await collected(WaitingApi(on.tables, on.clock).wait(request, CALLER))


async def rolling(on: Harness, phase: RolloutPhase, reason: str = "") -> None:
    """shop/web on its way to another revision."""
    state = on.world.get(ServiceState, "shop/web")
    assert state is not None
    rollout = Rollout(id="y", target=OTHER, phase=phase, started=NOW, reason=reason)
    await on.put(msgspec.structs.replace(state, rollout=rollout))


async def test_a_finished_rollout_without_a_reason_is_told_without_a_colon() -> None:
    async with Harness() as on:
        await running(on)
        found = await why(on, "shop/web")
    assert (found.name, found.phase, found.text) == (
        "shop/web",
        "healthy",
        "2 of 2 tasks are ready",
    )
    [line] = found.lines
    assert line.endswith("complete since 2023-11-14T22:13:20Z")


async def test_a_service_tells_its_rollout_holds_tasks_and_what_its_node_says() -> None:
    async with Harness() as on:
        await running(on)
        await rolling(on, RolloutPhase.PROGRESSING, "waits for 1 task")
        late = task("late", TaskState.STARTING, slot="3", status_error="nothing listens")
        leaving = task("gone", slot="4", desired_stop=True, desired_reason="replaced")
        report = NodeReport(id=NodeId(f"{1:012d}"), problems={"shop/web": "Port 80 is held."})
        hold = Hold(stack="shop", service="web", revision=THIRD, reason="it failed", at=NOW)
        await on.put(*late, *leaving, report, hold)
        await on.put(
            Event(id="e1", at=NOW, kind="x.y", object="shop/web", principal="p", text="it moved")
        )
        lines = (await why(on, "shop/web")).lines
    rollout = next(line for line in lines if line.startswith("rollout "))
    assert rollout.endswith(": waits for 1 task")
    assert f"{THIRD} is on hold since 2023-11-14T22:13:20Z: it failed" in lines
    assert any("shop/web.3: starting since" in x and "nothing listens" in x for x in lines)
    assert any("shop/web.4: " in x and x.endswith("): replaced") for x in lines)
    assert "node node1: Port 80 is held." in lines
    assert lines[-1].endswith("x.y: it moved")


async def test_a_stack_tells_why_its_newest_commit_does_not_run() -> None:
    async with Harness() as on:
        await running(on)
        await on.put(
            msgspec.structs.replace(head(on.world), seen_commit="d" * 40, problem="a.yml:1:2: bad")
        )
        found = await why(on, "shop")
    assert found.lines[0] == "commit dddddddddddd is not deployed: a.yml:1:2: bad"


async def test_a_task_and_a_node_by_name_and_id() -> None:
    async with Harness() as on:
        await running(on)
        by_name, by_id = await why(on, "shop/web.1"), await why(on, "task10000000")
        node = await why(on, "node1")
    assert by_name == by_id
    assert (by_name.name, by_name.phase) == ("shop/web.1", "running")
    assert node.text == "ready since 2023-11-14T22:13:20Z, active"


@pytest.mark.parametrize("name", ["nosuch", "shop/nosuch", "shop/web.9", "0123456789ab"])
async def test_unknown_names_are_refused(name: str) -> None:
    async with Harness() as on:
        await running(on)
        with pytest.raises(Refused):
            await why(on, name)


async def test_what_stands_already_is_answered_at_once() -> None:
    async with Harness() as on:
        await running(on)
        [done] = await waited(on, "shop/web")
    assert (done.code, done.text) == (0, "shop/web is healthy: 2 of 2 tasks are ready")


async def test_a_person_is_waited_for_and_a_timeout_says_what_was_missing() -> None:
    async with Harness() as on:
        await running(on)
        await rolling(on, RolloutPhase.PAUSED, "paused by ann")
        assert [a.code for a in await waited(on, "shop/web")] == [3]
        await rolling(on, RolloutPhase.PROGRESSING, "waits for 1 task")
        waiting = asyncio.ensure_future(waited(on, "shop/web", timeout=5.0))
        await on.advance(6)
        progress, end = await waiting
    assert (progress.code, end.code) == (-1, 4)
    assert end.text == f"not within 5s: {progress.text}"


async def test_a_change_lets_the_waiter_go() -> None:
    async with Harness() as on:
        revision = await running(on)
        await rolling(on, RolloutPhase.PROGRESSING, "waits")
        waiting = asyncio.ensure_future(waited(on, "shop/web"))
        await on.advance(1)
        state = on.world.get(ServiceState, "shop/web")
        assert state is not None
        done = Rollout(id="y", target=revision, phase=RolloutPhase.COMPLETE, started=NOW)
        await on.put(msgspec.structs.replace(state, rollout=done))
        await on.advance(1)
        answers = await waiting
    assert [a.code for a in answers] == [-1, 0]


async def test_an_unknown_stack_is_refused_but_waited_for_with_a_commit() -> None:
    async with Harness() as on:
        with pytest.raises(Refused):
            await waited(on, "shop")
        answers = waited(on, "shop", commit="c" * 40, timeout=3.0)
        waiting = asyncio.ensure_future(answers)
        await on.advance(4)
        found = await waiting
    assert [a.code for a in found] == [-1, 4]
    assert "shop is not known yet" in found[-1].text


async def test_an_older_release_is_superseded() -> None:
    async with Harness() as on:
        await running(on)
        await declared(on, stack(service(container_user="1")))
        [answer] = await waited(on, "shop", release=1)
    assert (answer.code, answer.text) == (5, "release 1 was superseded by release 2")


async def test_a_stack_that_is_removed_is_waited_for_until_it_has_gone() -> None:
    async with Harness() as on:
        await running(on)
        await on.put(msgspec.structs.replace(head(on.world), removing=True))
        waiting = asyncio.ensure_future(waited(on, "shop"))
        await on.advance(1)
        await on.tables.commit(Changes(changes=(Delete(ref=ref(Stack, "shop")),)))
        await on.advance(1)
        answers = await waiting
    assert [(a.code, a.text) for a in answers] == [
        (-1, "2 tasks left"),
        (0, "stack shop is removed"),
    ]


async def test_a_removal_that_is_over_before_anybody_waits_is_done() -> None:
    async with Harness() as on:
        answers = await waited(on, "shop", removed=True)
    assert [(a.code, a.text) for a in answers] == [(0, "stack shop is removed")]
