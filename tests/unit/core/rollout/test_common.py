"""What strategies are given."""

from tests.unit.core.rollout.cases import observed, up


def test_complete_needs_all_new_tasks_and_no_old_ones() -> None:
    assert observed(2, {"b": 2}, b=up(2)).complete
    assert not observed(2, {"b": 2}, b=up(2, 1)).complete
    assert not observed(2, {"b": 2}, b=up(2), a=up(1)).complete
    assert observed(0, {}).complete
