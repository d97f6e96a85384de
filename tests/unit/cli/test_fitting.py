"""What gives way when a terminal has few lines, and what never does."""

import io

import msgspec
import pytest
from rich.console import Console

from stackd.cli.fitting import Fitted
from stackd.core.model.api import StackStatus, StatusAnswer
from tests.unit.cli.test_drawing import NEW, OLD, SERVICE, TASK

KEYS, SAID = "p promote   a abort   q quit", "shop/web goes on."
STACK = StackStatus(
    stack="shop",
    release=12,
    commit="",
    seen_commit="",
    owner="cli",
    phase="paused",
    services=(SERVICE,),
)
EVENTS = tuple(f"event {number}" for number in range(8))
WELL = msgspec.structs.replace(TASK, state="running", health="healthy", revision=OLD)
TASKS = [msgspec.structs.replace(WELL, slot=n, id=f"{n:012d}") for n in range(20)]


def shown(height: int, tasks: int = 20, width: int = 80) -> list[str]:
    answer = StatusAnswer(stacks=(STACK,), service="web", events=EVENTS)
    unwell = msgspec.structs.replace(TASK, error="exit code 1")
    out = io.StringIO()
    console = Console(file=out, width=width, height=height)
    console.print(Fitted(answer, [*TASKS[:tasks], unwell], (KEYS, SAID)), end="")
    lines = out.getvalue().splitlines()
    assert len(lines) <= height
    assert lines[-2:] == [KEYS, SAID]
    return lines


def test_all_of_it_where_there_is_room() -> None:
    lines = shown(80)
    assert all(any(task.id in line for line in lines) for task in TASKS)
    assert set(EVENTS) <= set(lines)


@pytest.mark.parametrize("tasks", [1, 20])
def test_tasks_that_are_well_give_way_first(tasks: int) -> None:
    lines = shown(32, tasks)
    assert any("exit code 1" in line for line in lines)
    assert set(EVENTS[-3:]) <= set(lines)
    hidden = f"{tasks} of {tasks + 1} tasks are not shown: stackd ps"
    assert (hidden in lines) == (tasks > 1)


def test_an_ordinary_terminal_shows_what_one_decides_by() -> None:
    text = "\n".join(shown(24))
    for words in ("▶ pause 300s  4m 1s left", "evidence of worse", f"# {NEW}", f"# {OLD}"):
        assert words in text
    assert "21 of 21 tasks are not shown: stackd ps" in text


@pytest.mark.parametrize("height", [2, 3, 8, 15])
def test_the_keys_and_their_answer_stay_to_the_last(height: int) -> None:
    shown(height)
