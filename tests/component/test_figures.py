"""What `tests.soak.figures` prints is right: a bound that is missed is told, and when the last
request of a version was sent is known by its sending, not by its answer."""

import asyncio

import pytest

from examples.demo.load import Load, Lost, Mix, Tally, Target
from tests.fakes.ports import free_port
from tests.soak import measured
from tests.soak.measured import Move, Weight

SLOW = 0.3


def weight(percent: float, hits: int, of: int, *lost: Lost) -> Weight:
    """A canary, version 2, that answered `hits` of the requests to two nodes."""
    first = Tally(sent=hits, answered=hits)
    first.versions.update({"2": hits})
    rest = Tally(sent=of - hits + len(lost), answered=of - hits, lost=list(lost))
    rest.versions.update({"1": of - hits})
    return Weight(percent, 20, {"node1": first, "node2": rest}, "2", 10.0)


@pytest.mark.parametrize(
    ("percent", "hits", "z", "good"),
    [
        (50.0, 10_000, 0.0, True),
        (50.0, 10_282, 3.99, True),
        (50.0, 10_284, 4.02, False),
        (50.0, 9_716, -4.02, False),
        (0.01, 0, -1.41, True),
        (0.01, 8, 4.24, False),
        (99.0, 19_744, -3.98, True),
        (99.0, 19_743, -4.05, False),
    ],
)
def test_a_weight_is_held_against_four_deviations(
    percent: float, hits: int, z: float, good: bool
) -> None:
    found = weight(percent, hits, 20_000)
    assert found.z == pytest.approx(z, abs=0.01)
    assert (found.figure.sent, found.figure.reached, found.figure.good) == (20_000, good, good)


def test_a_weight_with_a_lost_request_does_not_hold() -> None:
    figure = weight(50.0, 10_000, 20_000, Lost("kept", "TimeoutError ", 1, 11)).figure
    assert (figure.sent, figure.lost) == (20_001, 1)
    assert figure.reached
    assert not figure.good


def test_without_answers_nothing_holds() -> None:
    assert not weight(50.0, 0, 0).figure.good


def move(*lasts: float, began: float = 10.0, recorded: float = 11.0) -> Move:
    """Version 1 is left; each node's last request to it was sent at one of these times."""
    tallies = {f"node{n}": Tally(sent=9, last={"1": at, "2": 99.0}) for n, at in enumerate(lasts)}
    return Move(began, recorded, tallies, "1")


def test_a_switch_is_one_everywhere_and_over_when_it_is_completed() -> None:
    good, apart, late = move(10.8, 10.99), move(10.5, 10.75), move(10.9, 11.01)
    assert [each.good for each in measured.switched([good, good])] == [True, True]
    assert [each.good for each in measured.switched([good, apart])] == [False, True]
    assert [each.good for each in measured.switched([good, late])] == [True, False]
    spread, before = measured.switched([good, late])
    assert (spread.measured, before.measured) == ("190, 110 ms", "10, -10 ms")
    assert spread.sent == 36


def test_abort_and_rollback_are_measured_from_their_command() -> None:
    quick, slow, slower = move(10.1, 10.49), move(10.1, 10.51), move(10.1, 11.01)
    assert [measured.aborted([quick, each])[0].good for each in (quick, slow)] == [True, False]
    assert [measured.rolled_back([slow, each])[0].good for each in (slow, slower)] == [True, False]
    [figure] = measured.aborted([move(10.4, recorded=10.3)])
    assert "400 ms after the command began; 100 ms after the abort" in figure.measured


def test_a_version_that_no_request_showed_is_no_measurement() -> None:
    shown = move(10.1).tallies["node0"]
    silent = Move(10.0, 11.0, {"node1": shown, "node2": Tally(sent=9)}, "1")
    with pytest.raises(AssertionError, match="node2"):
        measured.switched([silent])


def test_the_table_says_what_does_not_hold() -> None:
    rows = measured.table([weight(1.0, 200, 20_000).figure, weight(1.0, 400, 20_000).figure])
    assert rows[2:] == [
        "| weight 1 %, 20 replicas | ± 0.281% | 1.000% (z +0.00), 2,000 requests/s "
        "| 20,000 | 0 | yes |",
        "| weight 1 %, 20 replicas | ± 0.281% | 2.000% (z +14.21), 2,000 requests/s "
        "| 20,000 | 0 | NO |",
    ]


async def test_the_last_request_of_a_version_counts_by_when_it_was_sent() -> None:
    """The second answer is the old version's and late; the third comes before it, of the new."""
    sent = list[float]()
    served = list[asyncio.Task[None] | None]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        number = len(served)
        await reader.readuntil(b"\r\n\r\n")
        sent.append(asyncio.get_running_loop().time())
        if number == 2:
            await asyncio.sleep(SLOW)
        version = b"1" if number < 3 else b"2"
        writer.write(b"HTTP/1.1 200 OK\r\nX-Version: %s\r\nContent-Length: 0\r\n\r\n" % version)
        writer.close()
        await writer.wait_closed()

    port = free_port()
    load = Load(Target("127.0.0.1", port), 20, Mix(new=100, post=0, slow=0))
    async with await asyncio.start_server(serve, "127.0.0.1", port), load.running() as tally:
        for _ in range(1000):
            if tally.versions["1"] == 2:
                break
            await asyncio.sleep(0.01)
    assert not tally.lost
    assert tally.last["1"] <= sent[1] < tally.last["2"]
