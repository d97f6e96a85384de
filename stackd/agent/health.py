"""When a started task may get traffic: its health check, else its published ports, else time.

The rules are in `core.container.probe`; here the probes are made. Used by `agent.task`.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import assert_never

from stackd.agent.machine import Machine
from stackd.core.container import probe
from stackd.core.container.probe import Condition, Probing
from stackd.core.model.container import Check
from stackd.core.model.states import Health
from stackd.core.model.task import Task
from stackd.errors import StackdError, Unavailable

_log = logging.getLogger(__name__)
PORT_TIMEOUT = 1.0
UNPROBED = 1.0
"""Seconds until a probe that the node could not make is tried again."""
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known now. `running`: the state STARTING is over. `doom`: why it must stop."""

    running: bool
    ready: bool
    health: Health
    error: str = ""
    doom: str = ""
    proven: float = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """Which task, and since when it runs (the node's clock)."""

    task: Task
    started: float

    @property
    def address(self) -> str:
        """Its own address, where checks and ports are tried."""
        return next(iter(self.task.addresses.values()), LOOPBACK)


def watch(machine: Machine, subject: Subject, plan: Probing | None) -> AsyncIterator[Seen]:
    """Everything worth telling, from the start on. Ends when nothing more can change."""
    if plan is not None:
        return _checked(machine, subject, plan)
    if subject.task.ready_ports:
        return _listening(machine, subject)
    return _monitored(machine, subject)


async def _checked(machine: Machine, subject: Subject, plan: Probing) -> AsyncIterator[Seen]:
    condition = Condition(started=subject.started)
    end = subject.started + plan.deadline
    yield Seen(False, False, Health.STARTING)
    while True:
        due = probe.next_probe(plan, condition)
        await machine.clock.sleep(due - machine.clock.now())
        try:
            passed, output = await _probe(machine, subject, plan)
        except (Unavailable, OSError) as error:  # says nothing of the task
            _log.warning("task %s: not probed: %s", subject.task.id, error)
            await machine.clock.sleep(UNPROBED)
            continue
        now = machine.clock.now()
        before, condition = condition, probe.probed(plan, condition, passed, output, now)
        match condition.health:
            case Health.UNHEALTHY:
                text = probe.unhealthy_text(condition)
                yield Seen(False, False, Health.UNHEALTHY, text, doom=text)
                return
            case Health.HEALTHY:
                if before.health is not Health.HEALTHY:
                    yield Seen(True, True, Health.HEALTHY)
            case _ if now >= end:
                tail = f": {condition.output}" if condition.output else ""
                text = f"not healthy within {plan.deadline:g}s{tail}"
                yield Seen(False, False, Health.UNHEALTHY, text, doom=text)
                return
            case _:
                if condition.output != before.output:
                    yield Seen(False, False, Health.STARTING, condition.output)


async def _probe(machine: Machine, subject: Subject, plan: Probing) -> tuple[bool, str]:
    task, network = subject.task.id, machine.network
    try:
        match plan.kind:
            case Check.COMMAND:
                code, output = await machine.runtime.probe(task, plan.command, plan.timeout)
                if code == -1:
                    return False, f"timed out after {plan.timeout:g}s"
                return code == 0, output or ("" if code == 0 else f"exit code {code}")
            case Check.HTTP:
                status, why = await network.http_get(
                    task, subject.address, plan.port, plan.path, plan.timeout
                )
                where = f"GET http://{subject.address}:{plan.port}{plan.path}"
                return 200 <= status < 400, f"{where}: {status or why}"
            case Check.TCP:
                why = await network.connect(task, subject.address, plan.port, plan.timeout)
                return not why, why
            case never:
                assert_never(never)
    except Unavailable:
        raise
    except StackdError as error:
        return False, error.cause


async def _listening(machine: Machine, subject: Subject) -> AsyncIterator[Seen]:
    """Running at once, ready when every published target accepts at the task's own address."""
    yield Seen(True, False, Health.NONE)
    told, pause = "", 0.02
    while True:
        why = ""
        for port in subject.task.ready_ports:
            why = why or await _refused(machine, subject, port)
        if not why:
            yield Seen(True, True, Health.NONE)
            return
        if why != told and machine.clock.now() >= subject.started + 1:
            told = why
            yield Seen(True, False, Health.NONE, why)
        await machine.clock.sleep(pause)
        pause = min(1.0, pause * 2)


async def _refused(machine: Machine, subject: Subject, port: int) -> str:
    task, address = subject.task.id, subject.address
    try:
        why = await machine.network.connect(task, address, port, PORT_TIMEOUT)
        if not why:
            return ""
        inside = await machine.network.connect(task, LOOPBACK, port, PORT_TIMEOUT)
    except (StackdError, OSError) as error:
        return str(error)
    if not inside and address != LOOPBACK:
        return f"port {port} listens on 127.0.0.1 only; let the program listen on 0.0.0.0"
    return f"port {port} does not accept connections at {address}: {why}"


async def _monitored(machine: Machine, subject: Subject) -> AsyncIterator[Seen]:
    yield Seen(True, False, Health.NONE)
    end = subject.started + subject.task.monitor
    await machine.clock.sleep(end - machine.clock.now())
    yield Seen(True, True, Health.NONE, proven=subject.task.monitor)
