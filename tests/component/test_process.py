"""What a process writes of itself when it is asked to, also one whose event loop is stuck."""

import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, logging, os, signal, time
from stackd.aio import process
logging.basicConfig(level=logging.INFO, format="%(message)s")
async def lasting():
    await asyncio.Event().wait()
async def main():
    process.show_on_signal()
    task = asyncio.create_task(lasting(), name="a loop")
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGUSR2)
    {then}
RUNNER(main())
"""


@pytest.mark.parametrize("runner", ["asyncio.run", "__import__('uvloop').run"])
@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("await asyncio.sleep(0.1)", "task a loop waits in <string>.lasting:6 > locks.Event.wait:"),
        ("time.sleep(0.1); os._exit(0)", 'File "<string>", line 11 in main'),
    ],
)
def test_it_shows_where_it_stands_and_goes_on(runner: str, then: str, said: str) -> None:
    script = SCRIPT.format(then=then).replace("RUNNER", runner)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, said in done.stderr) == (0, True), done.stderr
