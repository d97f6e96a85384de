"""The pace of looking."""

from stackd.git.watch import Pace


def test_about_the_interval_with_jitter() -> None:
    shares = iter([0.0, 0.5, 0.999])
    pace = Pace(100.0, lambda: next(shares))
    assert [round(pace.next(failed=False)) for _ in range(3)] == [90, 100, 110]


def test_errors_back_off_and_success_ends_it() -> None:
    pace = Pace(15.0, lambda: 0.5)
    delays = [pace.next(failed=True) for _ in range(12)]
    assert delays[:5] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert delays[-1] == 300.0
    assert pace.next(failed=False) == 15.0
    assert pace.next(failed=True) == 1.0
