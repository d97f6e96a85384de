"""What a node does next with a task, and what its end means."""

import pytest

from stackd.core.container.lifecycle import (
    KILL_SECONDS,
    PREPARE_SECONDS,
    Act,
    End,
    Next,
    Situation,
    Stage,
    ended,
    next_action,
    signal_name,
)
from stackd.core.model.driver import Exit
from stackd.core.model.states import TaskState

RUN, STOP = TaskState.RUNNING, TaskState.SHUTDOWN


def at(stage: Stage, wanted: TaskState = RUN, **more: object) -> Next:
    return next_action(Situation(stage=stage, wanted=wanted, now=100.0, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stage", "act"),
    [
        (Stage.NOTHING, Act.PREPARE),
        (Stage.PREPARING, Act.WAIT),
        (Stage.PREPARED, Act.START),
        (Stage.STARTING, Act.WAIT),
        (Stage.STARTED, Act.WAIT),
        (Stage.ENDED, Act.CLEAN),
        (Stage.CLEANING, Act.WAIT),
        (Stage.CLEAN, Act.DONE),
    ],
)
def test_wanted_running(stage: Stage, act: Act) -> None:
    assert at(stage).act is act


@pytest.mark.parametrize(
    ("stage", "act"),
    [
        (Stage.NOTHING, Act.CLEAN),
        (Stage.PREPARING, Act.CLEAN),
        (Stage.PREPARED, Act.CLEAN),
        (Stage.STARTING, Act.STOP),
        (Stage.STARTED, Act.STOP),
        (Stage.ENDED, Act.CLEAN),
        (Stage.CLEANING, Act.WAIT),
        (Stage.CLEAN, Act.DONE),
    ],
)
def test_wanted_stopped(stage: Stage, act: Act) -> None:
    assert at(stage, STOP).act is act
    assert at(stage, TaskState.REMOVE).act is act


def test_preparing_has_a_deadline() -> None:
    waiting = at(Stage.PREPARING, preparing_since=90.0)
    assert waiting == Next(act=Act.WAIT, wake_at=90.0 + PREPARE_SECONDS)
    assert at(Stage.PREPARING, preparing_since=100.0 - PREPARE_SECONDS).act is Act.EXPIRE


def test_prepared_task_is_held_until_wanted_running() -> None:
    assert at(Stage.PREPARED, TaskState.READY) == Next(act=Act.WAIT)


def test_stop_signal_then_grace_then_kill() -> None:
    assert at(Stage.STARTED, STOP, grace=10.0).act is Act.STOP
    waiting = at(Stage.STARTED, STOP, grace=10.0, stopping_since=95.0)
    assert waiting == Next(act=Act.WAIT, wake_at=105.0)
    assert at(Stage.STARTED, STOP, grace=10.0, stopping_since=90.0).act is Act.KILL


def test_container_that_survives_its_kill_is_cleaned_up() -> None:
    killed = at(Stage.STARTED, STOP, stopping_since=80.0, killed_at=95.0)
    assert killed == Next(act=Act.WAIT, wake_at=95.0 + KILL_SECONDS)
    assert at(Stage.STARTED, STOP, stopping_since=80.0, killed_at=90.0).act is Act.CLEAN


def test_forgotten_task_gets_no_grace() -> None:
    assert at(Stage.STARTED, forgotten=True).act is Act.KILL
    assert at(Stage.STARTED, STOP, forgotten=True, stopping_since=99.0).act is Act.KILL
    assert at(Stage.PREPARING, forgotten=True).act is Act.CLEAN


def test_doomed_task_is_stopped_with_grace() -> None:
    assert at(Stage.STARTED, doomed=True).act is Act.STOP


MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("exit", "state", "error"),
    [
        (Exit(code=0), TaskState.COMPLETE, ""),
        (Exit(code=3), TaskState.FAILED, "exit code 3"),
        (Exit(code=139, signal=11), TaskState.FAILED, "killed by SIGSEGV"),
        (Exit(code=137, signal=9), TaskState.FAILED, "killed by SIGKILL"),
        (
            Exit(code=137, signal=9, oom_killed=True),
            TaskState.FAILED,
            "out of memory (limit 64 MiB)",
        ),
        (
            Exit(code=5, oom_killed=True),
            TaskState.FAILED,
            "exit code 5; a process of it had run out of memory (limit 64 MiB)",
        ),
        (Exit(code=0, oom_killed=True), TaskState.COMPLETE, ""),
        (Exit(code=None, lost="conmon died"), TaskState.FAILED, "monitor lost: conmon died"),
        (None, TaskState.FAILED, "its container has vanished"),
    ],
)
def test_ended_by_itself(exit: Exit | None, state: TaskState, error: str) -> None:
    assert ended(exit, asked=False, memory=64 * MIB) == End(state=state, error=error)


def test_asked_end_is_shutdown_whatever_the_code() -> None:
    for code in (0, 3, 143):
        assert ended(Exit(code=code), asked=True) == End(state=TaskState.SHUTDOWN)


def test_doom_says_why() -> None:
    end = ended(Exit(code=143, signal=15), asked=False, doom="health check failed 3 times: no")
    assert end == End(state=TaskState.FAILED, error="health check failed 3 times: no")


def test_limits_and_signals_in_words() -> None:
    killed = Exit(code=137, oom_killed=True)
    assert ended(killed, asked=False).error == "out of memory"
    assert ended(killed, asked=False, memory=1536 * MIB).error == "out of memory (limit 1.5 GiB)"
    assert ended(killed, asked=False, memory=100).error == "out of memory (limit 100 bytes)"
    assert signal_name(40) == "signal 40"


def test_a_task_that_went_with_its_machine_has_not_failed() -> None:
    end = ended(Exit(code=None, rebooted=True), asked=False)
    assert (end.state, end.error) == (TaskState.SHUTDOWN, "its node was restarted")
    assert ended(Exit(code=None, rebooted=True), asked=True).error == ""
