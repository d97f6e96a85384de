"""How far a task is that a former agent has left: its container, and what was last said of it.

Asked by `agent.task` when an agent starts. A container that may be half made is made anew; one
whose command may have been let go is never run a second time.
"""

from stackd.core.container.lifecycle import Stage
from stackd.core.model.driver import Exit, Found
from stackd.core.model.record import Value
from stackd.core.model.states import TaskState
from stackd.core.model.task import TaskStatus


class Adopted(Value, frozen=True, kw_only=True):
    """Where to go on. `dirty`: something of it may lie about, to be swept first."""

    stage: Stage = Stage.NOTHING
    exit: Exit | None = None
    dirty: bool = False


def adopted(found: Found | None, said: TaskStatus) -> Adopted:
    """Where to go on with a task whose container is `found` (None: there is none)."""
    if _never_ran(found, said) or _made_anew(found, said):
        # Half made, or without a monitor: its maker may have died in it.
        return Adopted(dirty=True)
    if found is not None and not found.running:
        return Adopted(stage=Stage.ENDED, exit=found.exit)
    if found is not None:
        return Adopted(stage=Stage.STARTED)
    if said.state.finished or said.state < TaskState.READY:
        return Adopted(dirty=True)
    return Adopted(stage=Stage.ENDED)


def _never_ran(found: Found | None, said: TaskStatus) -> bool:
    """The command was certainly not let go."""
    if found is None or found.started:
        return False
    return found.running or found.cut_off or said.state < TaskState.STARTING


def _made_anew(found: Found | None, said: TaskStatus) -> bool:
    """A former agent had found that and begun again; it may have been killed in that, too."""
    begun = TaskState.READY <= said.state <= TaskState.STARTING
    return begun and not said.pid and not (found and found.running and found.started)
