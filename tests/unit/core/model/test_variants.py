"""Which answers reach a goal."""

import pytest

from stackd.core.model.variants import Tried, UserGoal


@pytest.mark.parametrize(
    ("goal", "request_", "reached"),
    [
        (UserGoal(path="/order"), ("GET", "/order", 200), True),
        (UserGoal(path="/order"), ("POST", "/order?id=3", 204), True),
        (UserGoal(path="/order"), ("POST", "/order/3", 200), False),
        (UserGoal(path="/order"), ("POST", "/order", 302), False),
        (UserGoal(path="/order", status=3), ("POST", "/order", 302), True),
        (UserGoal(path="/order", method="POST"), ("POST", "/order", 200), True),
        (UserGoal(path="/order", method="POST"), ("GET", "/order", 200), False),
        (UserGoal(path_prefix="/order/"), ("GET", "/order/3", 200), True),
        (UserGoal(path_prefix="/order/"), ("GET", "/", 200), False),
        (UserGoal(path_prefix="/order/"), ("GET", "/order/3", 0), False),
    ],
)
def test_path_method_and_class_of_status(
    goal: UserGoal, request_: tuple[str, str, int], reached: bool
) -> None:
    assert goal.reached(*request_) is reached


def test_words() -> None:
    assert UserGoal(path="/order", method="POST").words == "POST /order 2xx"
    assert UserGoal(path_prefix="/", status=4).words == "/* 4xx"


def test_sums() -> None:
    one, other = Tried(requests=5, errors=1, goals=2), Tried(requests=3, goals=1)
    assert one.plus(other) == Tried(requests=8, errors=1, goals=3)
    assert one.plus(other).minus(other) == one
