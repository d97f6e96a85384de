"""A call that finds no manager, whose manager dies, or whose caller goes away."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.component.cli.manager import Manager, serving
from tests.component.cli.shell import Shell, process

pytestmark = pytest.mark.host  # sockets are in /run/stackd


async def test_a_stale_socket_and_none(manager: Manager, shell: Shell, tmp_path: Path) -> None:
    manager.layout.control_socket.unlink()
    assert await shell("ps") == 1
    assert "is not running" in shell.err
    assert "stackd up" in shell.err
    manager.layout.control_socket.touch()
    assert await shell("ps") == 1
    assert "is not running" in shell.err
    assert len(shell.err.splitlines()) == 2


async def test_a_folder_without_a_cluster(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shell = Shell(tmp_path, capfd)
    assert await shell("ps") == 1
    assert f"There is no cluster in {tmp_path}" in shell.err
    (tmp_path / "cluster.json").write_text("{")
    assert await shell("ps") == 1
    assert "is damaged" in shell.err


async def test_the_manager_dies_in_the_middle_of_a_call(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async with serving(tmp_path) as (one, server):
        shell = Shell(one.data, capfd)
        running = asyncio.ensure_future(shell("scale", "shop/web=3"))
        await one.hang.wait()
        await server.stop(0)
        assert await running == 1
        assert shell.err.startswith("stackd: The manager has gone before it answered.")
        assert "It may have been done" in shell.err


async def test_an_interrupt_is_130_and_quiet(manager: Manager) -> None:
    with process(manager, "scale", "shop/web=3") as command:
        await manager.hang.wait()
        command.send_signal(signal.SIGINT)
        _, err = await asyncio.to_thread(command.communicate)
    assert (command.returncode, err) == (130, "")


async def test_a_reader_that_goes_away_is_no_error(manager: Manager) -> None:
    with process(manager, "events") as command:
        assert command.stdout is not None
        command.stdout.close()
        assert command.stderr is not None
        err = await asyncio.to_thread(command.stderr.read)
        await asyncio.to_thread(command.wait)
    assert (command.returncode, err) == (1, "")
