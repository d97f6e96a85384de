"""`python -m stackd`: picks the process to be. Each is loaded only when asked for, so that agents
and spawners carry nothing of the command line."""

import gc
import importlib
import sys
from collections.abc import Callable

from stackd import __version__

PROCESSES = {
    "agent": "stackd.agent.main",
    "spawner": "stackd.host.spawner",
    "envoy-keeper": "stackd.host.envoy",
    "manager": "stackd.manager.main",
    "supervisor": "stackd.cli.supervise",
}
"""Word -> module whose `main(arguments) -> exit code` runs that process."""


def main() -> int:
    """The exit code."""
    arguments = sys.argv[1:]
    if arguments in (["version"], ["--version"]):
        sys.stdout.write(f"stackd {__version__}\n")
        return 0
    gc.disable()  # nothing that is being loaded is garbage; looking for it takes a tenth
    if arguments and arguments[0] in PROCESSES:
        run: Callable[[list[str]], int] = importlib.import_module(PROCESSES[arguments[0]]).main
        gc.freeze()
        gc.enable()
        return run(arguments[1:])
    run = importlib.import_module("stackd.cli.app").main
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
