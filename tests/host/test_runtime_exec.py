"""Commands in running containers: sessions, terminals, probes; and the log ring."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stackd.core.model.container import Mount, MountKind
from stackd.core.model.driver import ExecRequest, LogLine
from stackd.errors import Refused
from stackd.host import logfiles
from tests.host import rig as rigs

pytestmark = pytest.mark.host


@pytest.fixture
async def rig() -> AsyncIterator[rigs.Rig]:
    async with rigs.rig() as made:
        yield made


async def executed(rig: rigs.Rig, task: str, *argv: str) -> tuple[int, bytes, bytes]:
    session = await rig.runtime.exec(ExecRequest(task, argv))
    await session.write(b"")
    streams = {1: b"", 2: b""}
    async for number, chunk in session.output():
        streams[number] += chunk
    return await session.code(), streams[1], streams[2]


async def test_exec_streams_and_codes(rig: rigs.Rig) -> None:
    task = await rig.run("sleep", "1000", user="app", environment={"E": "v"})
    code, out, err = await executed(rig, task, "sh", "-c", "echo $E; id -u >&2; exit 4")
    assert (code, out, err) == (4, b"v\n", b"1000\n")
    assert (await executed(rig, task, "sh", "-c", "kill -9 $$"))[0] == 137
    assert (await executed(rig, task, "sh", "-c", "exit 255"))[0] == 255
    assert (await executed(rig, task, "no-such-command"))[0] == 127
    assert (await executed(rig, task, "/bin/noexec"))[0] == 126
    assert [path.name for path in (rig.layout.bundles / task).glob("x*")] == []


async def test_exec_has_the_containers_confinement(rig: rigs.Rig) -> None:
    task = await rig.run("sleep", "1000")
    script = "grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status; cat /proc/self/cgroup"
    _, out, _ = await executed(rig, task, "sh", "-c", script)
    text = out.decode()
    assert "CapEff:\t00000000000005fb" in text
    assert "Seccomp:\t2" in text
    assert "NoNewPrivs:\t1" in text
    assert rig.layout.cluster.cluster not in text


async def test_exec_stdin(rig: rigs.Rig) -> None:
    task = await rig.run("sleep", "1000")
    session = await rig.runtime.exec(ExecRequest(task, ("wc", "-c")))
    await session.write(b"x" * 300_000)
    await session.write(b"")
    out = b"".join([chunk async for _, chunk in session.output()])
    assert (await session.code(), out.strip()) == (0, b"300000")


async def test_exec_terminal(rig: rigs.Rig) -> None:
    task = await rig.run("sleep", "1000")
    request = ExecRequest(task, ("sh",), tty=True, rows=33, columns=77)
    session = await rig.runtime.exec(request)
    await session.write(b"tty; stty size; exit 6\n")
    out = b"".join([chunk async for _, chunk in session.output()])
    assert b"/dev/pts/" in out
    assert b"33 77" in out
    assert await session.code() == 6
    session = await rig.runtime.exec(ExecRequest(task, ("no-such",), tty=True))
    text = b"".join([chunk async for _, chunk in session.output()])
    assert b"not found" in text
    assert await session.code() == 127


async def test_exec_needs_a_running_task(rig: rigs.Rig) -> None:
    with pytest.raises(Refused, match="no container"):
        await rig.runtime.exec(ExecRequest("zzzzzzzzzzzz", ("true",)))
    task = await rig.run("true")
    await rig.runtime.wait(task)
    with pytest.raises(Refused, match="not running"):
        await rig.runtime.exec(ExecRequest(task, ("true",)))


async def test_probe(rig: rigs.Rig) -> None:
    task = await rig.run("sleep", "1000")
    assert await rig.runtime.probe(task, ("sh", "-c", "echo fine"), 10) == (0, "fine\n")
    code, text = await rig.runtime.probe(task, ("sh", "-c", "yes | head -c 100000; exit 3"), 10)
    assert (code, len(text)) == (3, 4096)
    assert (await rig.runtime.probe(task, ("no-such",), 10))[0] != 0
    assert (await rig.runtime.probe(task, ("sh", "-c", "sleep 7777"), 0.5))[0] == -1
    _, out, _ = await executed(rig, task, "ps")
    assert b"7777" not in out
    holds = ("sh", "-c", "sleep 8888 & echo kept")
    assert await rig.runtime.probe(task, holds, 0.5) == (-1, "kept\n")
    _, out, _ = await executed(rig, task, "ps")
    assert b"8888" not in out


async def test_probes_wait_for_each_other_without_losing_time(rig: rigs.Rig) -> None:
    task = await rig.run("sleep", "1000")
    probe = ("sh", "-c", "sleep 0.4")
    results = await asyncio.gather(*(rig.runtime.probe(task, probe, 3.0) for _ in range(12)))
    assert {code for code, _ in results} == {0}


async def test_log_ring_loses_nothing_until_it_is_full(rig: rigs.Rig) -> None:
    script = "i=0; while [ $i -lt 600 ]; do echo line-$i; i=$((i+1)); usleep 2000; done"
    task = await rig.run("sh", "-c", script)
    log = rig.layout.logs / task / "ctr.log"
    rotating = asyncio.ensure_future(rotate_at(rig, task, {100, 350}))
    seen = [
        line.text.decode()
        async for page in rig.runtime.logs(task, follow=True, tail=-1, since=0)
        for line in page
    ]
    await rotating
    assert seen == [f"line-{n}" for n in range(600)]
    assert sorted(path.name for path in log.parent.iterdir()) == [
        *("ctr.log", "ctr.log.1", "ctr.log.2"),
    ]
    kept = [line.text.decode() for line in await query(rig, task, tail=-1)]
    assert kept == [f"line-{n}" for n in range(600)]
    for tail in (0, 1, 5, 300, 599, 1000):
        wanted = [f"line-{n}" for n in range(max(0, 600 - tail), 600)]
        assert [line.text.decode() for line in await query(rig, task, tail=tail)] == wanted


async def query(rig: rigs.Rig, task: str, *, tail: int, since: float = 0) -> list[LogLine]:
    pages = rig.runtime.logs(task, follow=False, tail=tail, since=since)
    return [line async for page in pages for line in page]


async def rotate_at(rig: rigs.Rig, task: str, lines: set[int]) -> None:
    """Rotate after these lines were written, each time waiting for the monitor's new file."""
    log, control = rig.layout.logs / task / "ctr.log", rig.layout.bundles / task / "ctl"
    for number in sorted(lines):
        text = f"line-{number}\n".encode()
        await rigs.until(lambda text=text: log.exists() and text in log.read_bytes())  # type: ignore[misc]
        assert logfiles.rotate(log, control, limit=1)
        await rigs.until(log.exists)


async def test_more_than_the_ring_and_than_conmons_own_limit_has_no_gap(
    rig: rigs.Rig, tmp_path: Path
) -> None:
    """46 MB in eight parts; after each part the ring is looked after as `run` does."""
    script = (
        "for i in 1 2 3 4 5 6 7 8; do seq ${i}00000 ${i}99999;"
        "while [ ! -e /gate/$i ]; do usleep 10000; done; done"
    )
    mount = Mount(kind=MountKind.BIND, source=str(tmp_path), target="/gate")
    task = await rig.run("sh", "-c", script, mounts=(mount,))
    log, control = rig.layout.logs / task / "ctr.log", rig.layout.bundles / task / "ctl"
    logfiles.hold(log)
    for part in range(1, 9):
        await rigs.until(lambda part=part: last_number(log) == part * 100_000 + 99_999)  # type: ignore[misc]
        if logfiles.rotate(log, control):
            await rigs.until(lambda: logfiles.hold(log))
        (tmp_path / str(part)).touch()
    await rig.runtime.wait(task)
    lines = await query(rig, task, tail=-1)
    text = b"".join(line.text + (b"" if line.partial else b"\n") for line in lines)
    numbers = [int(number) for number in text.split()]
    assert len(numbers) > 300_000
    first = 1 if lines[0].partial else 0
    assert numbers[first:] == list(range(numbers[first], 900_000))


def last_number(log: Path) -> int:
    """The number on the last whole line; 0 when there is none."""
    if not log.exists():
        return 0
    tail = log.read_bytes()[-200:].splitlines()
    text = tail[-1].split(b" ")[-1] if tail else b""
    return int(text) if text.isdigit() else 0


async def test_since_and_partial_lines(rig: rigs.Rig) -> None:
    task = await rig.run("sh", "-c", "echo one; sleep 1; head -c 20000 /dev/zero | tr '\\0' x")
    await rig.runtime.wait(task)
    lines = await query(rig, task, tail=-1)
    assert lines[0].text == b"one"
    assert all(line.partial for line in lines[1:])
    first = logfiles.seconds(lines[0].at)
    later = await query(rig, task, tail=-1, since=first + 0.5)
    assert [line.text for line in later] == [line.text for line in lines[1:]]
