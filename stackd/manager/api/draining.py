"""`node drain --wait`: how far a node has been emptied, and what is in the way."""

from collections.abc import AsyncIterator

from stackd.aio.clock import Clock
from stackd.core.model.api import WaitAnswer, WaitRequest
from stackd.core.model.network import VolumeBinding
from stackd.core.model.node import Node, NodeReport, NodeStatus
from stackd.core.model.states import Availability
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.orchestrate import evacuation
from stackd.core.rollout.outcome import Code
from stackd.manager.api import names
from stackd.store.tables import Tables
from stackd.wire.control import Caller

TIMED_OUT = 4
WATCHED = (Task, TaskDesired, TaskStatus, Node, NodeStatus, NodeReport, VolumeBinding)


class DrainApi:
    """Handler of the wait for an empty node."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock

    async def wait(self, request: WaitRequest, caller: Caller) -> AsyncIterator[WaitAnswer]:
        """Progress, then one answer with the exit code: 0 empty, 3 what is left waits for a
        person, 4 timeout, 5 no longer to be drained."""
        deadline = self._clock.now() + request.timeout
        subscription = self._tables.subscribe(*WATCHED)
        shown = ""
        try:
            while True:
                answer = self._look(request.name)
                rest = deadline - self._clock.now()
                if answer.code < 0 and rest <= 0:
                    text = f"not within {request.timeout:g}s: {answer.text}"
                    answer = WaitAnswer(code=TIMED_OUT, text=text)
                if answer.code >= 0 or answer.text != shown:
                    yield answer
                shown = answer.text
                if answer.code >= 0:
                    return
                await subscription.next(min(max(rest, 0.0), 1.0))
        finally:
            self._tables.unsubscribe(subscription)

    def _look(self, name: str) -> WaitAnswer:
        world = self._tables.world
        node = names.node_of(world, name)
        left = evacuation.remaining(world, node.id)
        text = evacuation.summary(left)
        code = Code.NOT_YET
        if node.availability is not Availability.DRAIN:
            code, text = Code.SUPERSEDED, f"it is {node.availability.value} again"
        elif not left:
            code = Code.DONE
        elif all(one.stuck for one in left):
            code = Code.PERSON
        return WaitAnswer(code=int(code), text=text)
