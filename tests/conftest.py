"""Loaded before every test module: gRPC must find the environment that stackd sets for it.

How hard properties try is a profile of hypothesis: `suite` for `make test`, `deep` for `make fuzz`.
`--fewest N` fails a run in which fewer than N tests have passed: a part of it was lost.
`--crashes N` crashes N times at every failpoint; without `--soak` what is marked so is left out
(`make soak`).
A run that is asked to end, also in the background, cleans up as after Ctrl-C.
"""

import signal

import pytest
from hypothesis import settings

import stackd

assert stackd.__version__

settings.register_profile("suite", max_examples=100, deadline=None, print_blob=True)
settings.register_profile("deep", settings.get_profile("suite"), max_examples=2_000)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fewest", type=int, default=0, help="fail when fewer tests have passed")
    parser.addoption("--soak", action="store_true", help="also what is marked soak")
    parser.addoption("--crashes", type=int, default=0, help="crash so often at every failpoint")


def pytest_configure() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("soak"):
        later = [item for item in items if item.get_closest_marker("soak")]
        items[:] = [item for item in items if not item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=later)


def _missing(config: pytest.Config) -> int:
    """Nothing is known of the whole in a worker, which has no reporter."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    passed = len(reporter.stats.get("passed", ())) if reporter else int(1e9)
    return max(0, int(config.getoption("fewest")) - passed)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _missing(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    missing = _missing(config)
    if missing:
        terminalreporter.write_line(f"{missing} tests fewer have passed than --fewest asks for.")
