import pytest

from stackd.core.analysis import guards
from stackd.core.model.analysis import Counters, Strikes, TaskFaults


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (TaskFaults(), ""),
        (TaskFaults(crashes=1), ""),
        (TaskFaults(crashes=2), "crash loop"),
        (TaskFaults(oom_kills=1), "for want of memory"),
        (TaskFaults(unhealthy=1), "failed its health check"),
    ],
)
def test_faults_of_tasks(faults: TaskFaults, said: str) -> None:
    found = guards.of_tasks(faults)
    assert said in found
    assert bool(found) is bool(said)


def counted(*looks: tuple[int, int]) -> Strikes:
    strikes = Strikes()
    for requests, errors in looks:
        strikes = guards.struck(strikes, Counters(requests=requests, errors=errors))
    return strikes


def test_two_counts_of_20_requests_that_mostly_fail() -> None:
    assert guards.of_requests(counted((20, 11), (20, 11)))
    assert guards.of_requests(counted(*[(10, 6)] * 4))
    assert not guards.of_requests(counted(*[(10, 6)] * 3))
    assert not guards.of_requests(counted((20, 11), (20, 10), (20, 11)))
    assert not guards.of_requests(counted((19, 19)))
