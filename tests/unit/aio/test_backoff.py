"""Pauses grow to a limit and start again after a success."""

from stackd.aio.backoff import Backoff


def test_pauses_double_up_to_the_most() -> None:
    backoff = Backoff(first=1.0, most=10.0)
    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 8, 10, 10]


def test_a_success_starts_it_again() -> None:
    backoff = Backoff(first=1.0, most=10.0, factor=3.0)
    assert [backoff.next(), backoff.next()] == [1, 3]
    backoff.reset()
    assert backoff.next() == 1
