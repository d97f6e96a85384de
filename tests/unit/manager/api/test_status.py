"""`status`: the documents of the contracts."""

import io

import msgspec
from rich.console import Console

from stackd.cli.drawing import draw
from stackd.core.model.api import NameRequest, TaskLife
from stackd.core.model.event import Event
from stackd.core.model.ids import RevisionId
from stackd.core.model.release import Hold, Override
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.strategy import Pause, SetWeight, Strategy, StrategyKind
from stackd.manager.api.status import StatusApi
from tests.fakes.harness import Harness
from tests.fakes.stacks import NOW, head, service, stack, task
from tests.unit.manager.api.cases import CALLER, declared, running, unmeasured

SERVICE = {
    *("stack", "service", "phase", "reason", "strategy", "step", "steps", "weights"),
    *("revisions", "release", "commit", "owner", "hold", "override"),
    *("rollout", "analyses", "features", "labels", "variants", "measured"),
    "kept_warm",
}
REVISION = {"id", "role", "image", "desired", "running", "ready", "weight"}
STACK = {"stack", "release", "commit", "seen_commit", "owner", "phase", "services"}


async def test_a_service_has_exactly_the_keys_of_the_contract() -> None:
    async with Harness() as on:
        revision = await running(on)
        answer = await StatusApi(on.tables, on.clock, unmeasured).status(
            NameRequest(name="shop/web"), CALLER
        )
    web = next(s for s in answer.stacks[0].services if s.service == answer.service)
    document = msgspec.json.decode(msgspec.json.encode(web))
    assert document.keys() == SERVICE
    [row] = document["revisions"]
    assert row.keys() == REVISION
    assert (row["id"], row["role"], row["desired"], row["running"], row["ready"]) == (
        *(revision, "stable", 2, 2, 2),
    )
    assert (document["phase"], document["release"], document["commit"]) == ("healthy", 1, "c" * 40)
    assert (document["owner"], document["hold"], document["override"]) == ("cli", [], None)


async def test_a_stack_has_the_keys_of_the_contract_and_a_problem() -> None:
    async with Harness() as on:
        await running(on)
        refused = msgspec.structs.replace(
            head(on.world), seen_commit="d" * 40, problem="a.yml:1:2: bad"
        )
        await on.put(refused)
        answer = await StatusApi(on.tables, on.clock, unmeasured).status(
            NameRequest(name="shop"), CALLER
        )
    [found] = answer.stacks
    assert set(found.__struct_fields__) == STACK | {"problem", "frozen"}
    assert (found.commit, found.seen_commit, found.problem) == (
        *("c" * 40, "d" * 40, "commit dddddddddddd is not deployed: a.yml:1:2: bad"),
    )
    assert [s.service for s in found.services] == ["db", "web"]


async def test_declared_and_overridden_numbers_are_both_shown() -> None:
    async with Harness() as on:
        await running(on)
        await on.put(
            Override(stack="shop", service="web", replicas=5, declared=2, by="root@local", at=NOW)
        )
        answer = await StatusApi(on.tables, on.clock, unmeasured).status(
            NameRequest(name="shop"), CALLER
        )
    web = answer.stacks[0].services[1]
    assert web.override == {
        "replicas": 5,
        "declared": 2,
        "by": "root@local",
        "at": "2023-11-14T22:13:20Z",
    }


async def test_a_service_scaled_to_nothing_keeps_its_revision_and_its_labels() -> None:
    async with Harness() as on:
        spec = stack(service(deploy_labels={"team": "shop"}))
        stable = (await declared(on, spec)).services["web"].revision
        await on.put(ServiceState(stack="shop", service="web", stable=stable, counts={stable: 0}))
        answer = await StatusApi(on.tables, on.clock, unmeasured).status(
            NameRequest(name="shop/web"), CALLER
        )
    [web] = answer.stacks[0].services
    [row] = web.revisions
    assert (row.id, row.role, row.desired, row.running, row.ready) == (stable, "stable", 0, 0, 0)
    assert web.labels == {"team": "shop"}


async def test_a_refused_revision_says_why() -> None:
    async with Harness() as on:
        stable = await running(on)
        bad = (await declared(on, stack(service(container_user="1")))).services["web"].revision
        rollout = Rollout(
            id="y", target=bad, source=stable, phase=RolloutPhase.ABORTED, reason="crashed"
        )
        state = ServiceState(
            stack="shop", service="web", stable=stable, counts={stable: 1}, rollout=rollout
        )
        hold = Hold(stack="shop", service="web", revision=bad, reason="task crashed", at=NOW)
        await on.put(state, hold)
        answer = await StatusApi(on.tables, on.clock, unmeasured).status(
            NameRequest(name="shop/web"), CALLER
        )
    [web] = (s for s in answer.stacks[0].services if s.service == "web")
    assert web.phase == "aborted"
    assert web.hold == (f"{bad} refused: task crashed",)


async def test_everything_without_a_name_and_removing_is_told() -> None:
    async with Harness() as on:
        await running(on)
        await on.put(msgspec.structs.replace(head(on.world), removing=True))
        answer = await StatusApi(on.tables, on.clock, unmeasured).status(NameRequest(), CALLER)
    assert [(s.stack, s.phase) for s in answer.stacks] == [("shop", "removing")]


async def test_a_watch_answers_at_once_and_at_each_change() -> None:
    async with Harness() as on:
        await running(on)
        answers = StatusApi(on.tables, on.clock, unmeasured).watch(NameRequest(name="shop"), CALLER)
        first = await anext(answers)
        await on.put(msgspec.structs.replace(head(on.world), seen_commit="e" * 40))
        second = await anext(answers)
        await answers.aclose()  # type: ignore[attr-defined]
    assert first.stacks[0].seen_commit == "c" * 40
    assert second.stacks[0].seen_commit == "e" * 40


async def test_a_canary_shows_its_steps_and_both_weights() -> None:
    policy = Strategy(kind=StrategyKind.CANARY, steps=(SetWeight(weight=500), Pause(seconds=90.0)))
    async with Harness() as on:
        stable = await running(on)
        release = await declared(on, stack(service(strategy=policy, container_user="1")))
        target = release.services["web"].revision
        rollout = Rollout(
            id="y",
            target=target,
            source=stable,
            step=1,
            pause_left=60.0,
            pause_at=on.clock.now(),
            reason="step 2 of 2: pause 90s",
        )
        weights: dict[str, int] = {stable: 9500, target: 500}
        await on.put(
            ServiceState(
                stack="shop",
                service="web",
                stable=stable,
                counts={stable: 2, target: 1},
                rollout=rollout,
                weights=weights,
            )
        )
        answer = await StatusApi(on.tables, on.clock, unmeasured).status(
            NameRequest(name="shop/web"), CALLER
        )
    [web] = (s for s in answer.stacks[0].services if s.service == "web")
    assert web.steps == ("set_weight 5%", "pause 90s", "take over")
    assert (web.step, web.weights, web.phase) == (1, weights, "progressing")
    assert web.reason == f"{stable} -> {target}: step 2 of 2: pause 90s, 60 s left"
    drawn = io.StringIO()
    Console(file=drawn, width=120).print(draw(answer, []))
    lines = [line.strip(" │├└─") for line in drawn.getvalue().splitlines()]
    assert "✔ set_weight 5%" in lines
    assert "▶ pause 90s  1m left" in lines
    assert web.rollout is not None
    assert (web.rollout.waits_for, web.rollout.pause_left) == ("time", 60)


async def test_what_was_measured_how_tasks_came_to_be_and_what_is_kept_warm() -> None:
    async with Harness() as on:
        stable = await running(on)
        state = on.world.get(ServiceState, "shop/web")
        assert state is not None
        warm = RevisionId("b" * 12)
        later = msgspec.structs.replace(state, warm=warm, warm_left=30, warm_at=on.clock.now() - 4)
        again = task("task3", slot="3", revision=stable, attempt=2, created=on.clock.now() - 90)
        await on.put(later, *again)
        measured = {"shop/web": {str(stable): 40}}
        api = StatusApi(on.tables, on.clock, lambda key: measured.get(key, {}))
        answer = await api.status(NameRequest(name="shop"), CALLER)
    found = {s.service: s for s in answer.stacks[0].services}
    assert (found["web"].measured, found["db"].measured) == ({stable: 40}, {})
    assert (found["web"].kept_warm, found["db"].kept_warm) == ({warm: 26}, {})
    assert answer.lives["task30000000"] == TaskLife(age=90, restarts=2)
    assert answer.lives["task10000000"].restarts == 0


async def test_events_of_a_services_tasks_are_its_events() -> None:
    async with Harness() as on:
        await running(on)
        names = ("shop/web", "shop/web.1", "shop/web2", "shop/db", "shop")
        await on.put(
            *(Event(id=f"z{n}", at=NOW, kind="a.b", object=n, principal="p") for n in names)
        )
        answer = await StatusApi(on.tables, on.clock, unmeasured).status(
            NameRequest(name="shop/web"), CALLER
        )
    assert [line.split()[2] for line in answer.events] == ["shop/web", "shop/web.1"]
