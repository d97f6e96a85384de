"""Where the answers of analyses stand, and those that were given to a rollout.

Called by `asked`, by `common` for what strategies see, and by whoever waits for one.
"""

from collections.abc import Mapping

from stackd.core.model.analysis import Analysis, Judgement
from stackd.core.model.rollout import ServiceState
from stackd.core.model.world import World

BACKGROUND = "background"


def place(number: int, called: str = "", attempt: int = 0) -> str:
    """Of the analysis that step `number` (from 0) is, or of one with a name."""
    name = called or f"step {number + 1}"
    return f"{name}, attempt {attempt + 1}" if attempt else name


def of(world: World, state: ServiceState) -> Mapping[str, Judgement]:
    """The newest answers given to the service's rollout, by place; those given to another rollout
    say nothing."""
    record = world.get(Analysis, state.key)
    if record is None or state.rollout is None or record.rollout != state.rollout.id:
        return {}
    return {at: run.judgement for at, run in record.runs.items() if run.judgement is not None}
