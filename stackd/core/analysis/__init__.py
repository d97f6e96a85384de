"""Whether a new revision is worse than the old one: anytime-valid verdicts on blocks of requests.

Pure: blocks, results of checks and the time are handed in, the state is handed back and stored by
the caller at each look. `docs/analysis.md` says what is computed and why it may be looked at any
time. Callers: strategies through the rollout loop, `stackd analysis replay`, `core.foresight`.
"""

from stackd.core.analysis.intake import block_size
from stackd.core.analysis.look import Look, begin, look

__all__ = ["Look", "begin", "block_size", "look"]
