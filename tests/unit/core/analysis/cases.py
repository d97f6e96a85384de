"""Short ways to make what an analysis is shown."""

from stackd.core.analysis import begin, look
from stackd.core.model.analysis import AnalysisPolicy, AnalysisState, Block, Judgement, Observed
from stackd.core.model.ids import RevisionId

NEW, OLD = RevisionId("new"), RevisionId("old")


def block(sequence: int, errors: int = 0, *, canary: bool = True, **fields: object) -> Block:
    """A block of 10 requests of one instance, begun at second `sequence`."""
    values: dict[str, object] = {
        "instance": "c1" if canary else "s1",
        "revision": NEW if canary else OLD,
        "sequence": sequence,
        "since": float(sequence),
        "requests": 10,
        "errors": errors,
        **fields,
    }
    return Block(**values)  # type: ignore[arg-type]


def blocks(count: int, bad: int = 0, *, canary: bool = True, **fields: object) -> tuple[Block, ...]:
    """`count` blocks, the first `bad` of them with one error."""
    return tuple(
        block(n, 1 if n <= bad else 0, canary=canary, **fields) for n in range(1, count + 1)
    )


def started(*, background: bool = False) -> AnalysisState:
    return begin(NEW, OLD, 0.0, background=background)


def judged(
    policy: AnalysisPolicy,
    observed: Observed,
    now: float = 60.0,
    state: AnalysisState | None = None,
) -> Judgement:
    return look(policy, state or started(), observed, now).judgement
