"""When an analysis is looked at, and what of all that came in still concerns it."""

from msgspec.structs import replace

from stackd.core.analysis import begin, run
from stackd.core.model.analysis import AnalysisPolicy, Compare, Run, Verdict
from stackd.core.model.ids import RevisionId
from stackd.core.model.requests import Batch

NEW, OLD = RevisionId("new"), RevisionId("old")
POLICY = AnalysisPolicy(warm_up=0.0, interval=60.0, time_limit=100.0)


def begun(*, background: bool = False, before: tuple[Batch, ...] = ()) -> Run:
    return run.begin(begin(NEW, OLD, 50.0, background=background), before)


def batch(
    sequence: int, revision: RevisionId = NEW, since: float = 60.0, failed: tuple[int, ...] = ()
) -> Batch:
    return Batch(
        stack="shop",
        service="web",
        revision=revision,
        instance=f"t-{revision}",
        sequence=sequence,
        since=since,
        seconds=(0.1,) * 10,
        failed=failed,
    )


def test_the_first_look_is_due_at_once_and_the_last_at_the_time_limit() -> None:
    found, dues = begun(), []
    while not found.state.final:
        dues.append(run.due(POLICY, found))
        found = run.looked(POLICY, found, run.Heard(), dues[-1])
    assert dues == [50.0, 110.0, 150.0]
    assert found.state.verdict is Verdict.INCONCLUSIVE
    assert "no verdict within 2m" in found.state.reason


def test_beside_the_steps_there_is_no_time_limit() -> None:
    found = begun(background=True)
    for due in (50.0, 110.0, 170.0, 230.0):
        assert run.due(POLICY, found) == due
        found = run.looked(POLICY, found, run.Heard(), due)
    assert not found.state.final


def test_blocks_are_as_large_as_what_stable_did_before_allows() -> None:
    assert begun().block == 10
    few = tuple(batch(n, OLD, failed=(1, 2)) for n in range(9))
    assert begun(before=few).block == 10
    many = (*few, batch(10, OLD, failed=(1, 2)))
    assert begun(before=many).block == 1
    assert begun(before=tuple(replace(b, revision=NEW) for b in many)).block == 10


def test_at_another_share_requests_are_counted_anew() -> None:
    limited = replace(POLICY, compare=Compare(error_ratio=None, latency=None), interval=10.0)
    found = run.at_share(begun(background=True), 0, 50.0)
    found = run.looked(limited, found, run.Heard(batches=(batch(1),)), 60.0)
    assert found.state.canary_tally.requests == 10
    assert run.at_share(found, 0, 65.0) is found
    grown = run.at_share(found, 2_000, 65.0)
    both = run.Heard(batches=(batch(2, since=64.0), batch(3, since=66.0, failed=(1,))))
    looked = run.looked(limited, grown, both, 70.0)
    assert (looked.state.shares, looked.state.canary_tally.errors) == (2, 1)
    assert looked.state.canary_tally.requests == 10, "one began before it"
    assert looked.state.logged.requests == 30, "the cross-check goes on"
    ended = replace(found, state=replace(found.state, final=True))
    assert run.at_share(ended, 2_000, 65.0) is ended


def test_what_is_judged_says_nothing_more() -> None:
    found = run.looked(POLICY, begun(), run.Heard(batches=[batch(1)]), 60.0)
    assert found.state.canary_tally.requests == 10
    assert run.judged(found, batch(1))
    assert not run.judged(found, batch(2))
    assert not run.judged(found, batch(1, OLD))
    assert run.judged(found, batch(2, since=49.0))
    assert run.judged(found, batch(2, RevisionId("other")))
    over = run.looked(POLICY, found, run.Heard(), 150.0)
    assert run.judged(over, batch(2))
