"""Whatever happens, weights add up, the last endpoint withdraws, and every stop ends."""

from hypothesis import given
from hypothesis import strategies as st

from stackd.core.model.states import Leaving, TaskState
from stackd.core.model.traffic import TOTAL, TrafficEntry
from stackd.core.traffic import drain, effective
from tests.fakes.traffic import KEY, Town

TIMEOUT = 10.0
NAMES = st.sampled_from([f"t{i}" for i in range(6)])
STEP = st.one_of(
    st.tuples(st.just("start"), NAMES, st.sampled_from(["r1", "r2"])),
    st.tuples(st.just("stop"), NAMES),
    st.tuples(st.just("crash"), NAMES),
    st.tuples(st.just("unready"), NAMES),
    st.tuples(st.just("report"), st.sampled_from(["n0", "n1"]), st.integers(0, 2)),
    st.tuples(st.just("weights"), st.integers(0, 10000)),
    st.tuples(st.just("table")),
    st.tuples(st.just("drains")),
    st.tuples(st.just("time"), st.integers(1, 7)),
)


def play(town: Town, step: tuple[object, ...]) -> None:
    known = {view.task.id for view in town.world.tasks_of("shop", "web")}
    match step:
        case ("start", str(name), str(revision)) if name not in known:
            town.task(name, revision)
        case ("stop", str(name)) if name in known:
            town.stop(name)
        case ("crash", str(name)) if name in known:
            town.status(name, ready=False, state=TaskState.FAILED)
        case ("unready", str(name)) if name in known:
            view = town.world.task(name)
            if view is not None and view.live:
                town.status(name, ready=False)
        case ("report", str(node), int(count)):
            town.report(node, {name: count for name in known})
        case ("weights", int(share)):
            town.weights({"r1": share, "r2": 10000 - share})
        case ("table",):
            town.turn_table()
        case ("drains",):
            before: dict[str, Leaving] = {name: town.leaving(name) for name in known}
            town.turn_drains()
            check_withdrawals(town, before)
        case ("time", int(seconds)):
            town.now += seconds
        case _:
            pass
    town.check()


def check_withdrawals(town: Town, before: dict[str, Leaving]) -> None:
    """A task went from NO straight to DRAINING only if another keeps the traffic."""
    entry = town.world.get(TrafficEntry, KEY)
    for name, stage in before.items():
        if stage is Leaving.NO and town.leaving(name) is Leaving.DRAINING:
            assert entry is not None
            weights = effective.weights(entry)
            others = [e for e in entry.endpoints if e.task in effective.endpoint_weights(entry)]
            assert any(
                weights[e.revision] > 0 and town.leaving(e.task) is Leaving.NO for e in others
            )


@given(st.lists(STEP, max_size=40))
def test_nothing_is_lost_and_every_stop_ends(steps: list[tuple[object, ...]]) -> None:
    town = Town(nodes=2, drain_timeout=TIMEOUT)
    for step in steps:
        play(town, step)
    limit = TIMEOUT + 3 * drain.ACK_LIMIT + 10
    for _ in range(int(limit)):
        town.now += 1
        town.settle()
    for view in town.world.tasks_of("shop", "web"):
        if view.desired.stop:
            assert view.desired.leaving is Leaving.DONE
            assert view.desired.state is TaskState.SHUTDOWN


@given(st.dictionaries(st.text("abcdef", min_size=1), st.integers(0, 10**6), max_size=8))
def test_shares_always_sum_to_the_total(parts: dict[str, int]) -> None:
    found = effective.shares(parts)
    assert sum(found.values()) == (TOTAL if any(parts.values()) else 0)
    assert all(weight == 0 for key, weight in found.items() if parts[key] == 0)
