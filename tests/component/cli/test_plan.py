"""`plan` and `diff`: their codes, files and played rollouts."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stackd.core.model.api import (
    Assumed,
    PlanAnswer,
    PlanLine,
    PlanRequest,
    SimulatedStep,
    SimulationAnswer,
)
from tests.component.cli.manager import Manager
from tests.component.cli.shell import Shell

pytestmark = pytest.mark.host  # sockets are in /run/stackd


def _fields(plan: PlanAnswer) -> dict[str, Any]:
    return {key: getattr(plan, key) for key in plan.__struct_fields__}


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
