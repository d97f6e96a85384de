"""The client that counts lost requests counts each kind of loss, and the soak puts it where
contracts say: what it would miss, no run could show."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from examples.demo.load import Load, Lost, Mix, Tally, Target
from tests.fakes.ports import free_port
from tests.soak.kills import Outage
from tests.soak.results import Run

ANSWER = b"HTTP/1.1 200 OK\r\nX-Version: 1\r\nContent-Length: 0\r\n\r\n"
FOREIGN = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
KEPT = Mix(new=0, post=0, slow=0)


@contextlib.asynccontextmanager
async def server(answers: Callable[[int], bytes], *, kept: bool = True) -> AsyncIterator[int]:
    """Says to its n-th request what `answers(n)` is, b'' = closes, as it does without `kept` after
    each answer; yields its port."""
    asked = 0
    serving = set[asyncio.Task[None] | None]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        serving.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            answer = ANSWER
            while answer:
                await reader.readuntil(b"\r\n\r\n")
                asked += 1
                answer = answers(asked)
                writer.write(answer)
                if not kept:
                    break
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    port = free_port()
    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield port
        await asyncio.gather(*(task for task in serving if task))


async def begun(tally: Tally, count: int) -> None:
    """Once so many requests were sent."""
    for _ in range(1000):
        if tally.sent >= count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"only {tally.sent} were sent")


async def sent(load: Load, count: int) -> Tally:
    """What became of so many requests, or a few more."""
    async with load.running() as tally:
        await begun(tally, count)
    return tally


async def test_answers_resets_and_answers_of_others_are_told_apart() -> None:
    def answers(number: int) -> bytes:
        return {3: b"", 5: FOREIGN}.get(number, ANSWER)

    async with server(answers) as port:
        tally = await sent(Load(Target("127.0.0.1", port), 100, KEPT), 10)
    assert tally.answered == tally.sent - 2
    assert tally.versions == {"1": tally.answered}
    assert {lost.cause.split()[0] for lost in tally.lost} == {"IncompleteReadError", "503"}


async def test_refused_connections_are_lost_and_known_as_refused() -> None:
    tally = await sent(Load(Target("127.0.0.1", free_port()), 100, KEPT), 3)
    assert len(tally.lost) == tally.sent
    assert all(lost.refused for lost in tally.lost)


async def test_a_turn_counts_apart_what_is_sent_after_it() -> None:
    async with server(lambda _: ANSWER) as port:
        load = Load(Target("127.0.0.1", port), 100, KEPT)
        async with load.running() as before:
            await begun(before, 5)
            seen, after = before.sent, load.turn()
            await begun(after, 5)
    assert before.sent == seen == before.answered
    assert 0 < after.sent == after.answered


@pytest.mark.parametrize("looks", [False, True])
async def test_connections_that_were_closed_meanwhile(looks: bool) -> None:
    """Each is closed after its answer, without a word."""
    async with server(lambda _: ANSWER, kept=False) as port:
        load = Load(Target("127.0.0.1", port), 20, KEPT)
        load.looks = looks
        tally = await sent(load, 5)
    assert tally.answered
    assert bool(tally.lost) is not looks


def lost(cause: str, begun: float, ended: float = 0.0) -> Lost:
    return Lost("kept", cause, begun, ended or begun)


def judged(node: str, *found: Lost, outage: Outage | None = None, away: bool = False) -> Run:
    """A run in which these were lost through a node."""
    run = Run("canary", "forward", 1, None, {node: Tally(sent=len(found), lost=list(found))})
    run.outage = outage
    run.judge([run], away=away)
    return run


KILLED = Outage("node1", killed=10.0, listens=10.2, carried=3)


def test_a_killed_envoy_may_lose_what_it_carried_and_what_came_before_it_listened() -> None:
    losses = judged(
        "node1",
        lost("ConnectionResetError", 9.0, 10.01),
        lost("ConnectionRefusedError", 10.1),
        lost("ConnectionRefusedError", 10.3),
        lost("503 not from the application", 10.5),
        lost("IncompleteReadError", 9.0, 9.5),
        outage=KILLED,
    ).losses
    assert [len(losses.carried), len(losses.in_gap), len(losses.lost)] == [1, 1, 3]


def test_what_a_killed_envoy_loses_of_the_run_before_is_put_down_to_its_own_run() -> None:
    at_once = lost("ConnectionResetError", 9.0, 10.0)
    before = Run("canary", "forward", 1, None, {"node1": Tally(sent=1, lost=[at_once])})
    after = Run("canary", "rolled back", 1, None, outage=KILLED)
    before.judge([before, after], away=False)
    assert before.good
    assert [before.losses.carried, after.losses.carried] == [[], [at_once]]


def test_while_a_service_is_recreated_only_refusals_are_not_lost() -> None:
    refused, reset = lost("ConnectionRefusedError", 1), lost("ConnectionResetError", 1)
    away, there = judged("node1", refused, reset, away=True), judged("node1", refused)
    assert [away.losses.refused, away.losses.lost] == [[refused], [reset]]
    assert [there.losses.refused, there.losses.lost] == [[], [refused]]


def test_losses_through_another_node_are_not_those_of_the_killed_envoy() -> None:
    run = judged("node2", lost("ConnectionResetError", 9.0, 10.0), outage=KILLED)
    assert [len(run.losses.carried), len(run.losses.lost)] == [0, 1]
    assert not run.good


def test_a_starved_client_excuses_late_answers_only() -> None:
    run = Run("canary", "forward", 1, None, starved=True)
    late, reset = lost("TimeoutError ", 1, 11), lost("ConnectionResetError", 1)
    run.tallies = {"node1": Tally(sent=2, lost=[late, reset])}
    run.judge([], away=False)
    assert [run.losses.late, run.losses.lost] == [[late], [reset]]
